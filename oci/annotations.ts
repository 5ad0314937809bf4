import type { Spec } from './runtime-spec.ts';

/** Annotations that containerd's CRI plugin writes into the spec of a pod's containers. */
const CRI = 'io.kubernetes.cri.';

/** What a container is to its pod. */
export type PodRole =
  | { readonly kind: 'alone' }
  | { readonly kind: 'sandbox' }
  | { readonly kind: 'member'; readonly sandboxId: string };

/** Tells a pod's sandbox, a container of a pod and a container of its own apart. */
export function podRole(spec: Spec, id: string): PodRole {
  const sandboxId = spec.annotations?.get(`${CRI}sandbox-id`);
  if (sandboxId === undefined || sandboxId === '') return { kind: 'alone' };
  return sandboxId === id ? { kind: 'sandbox' } : { kind: 'member', sandboxId };
}

/** The pod's limits as Kubernetes states them on the sandbox; undefined: not stated. */
export interface SandboxLimits {
  readonly memoryBytes: number | undefined;
  readonly cpuQuotaUs: number | undefined;
  readonly cpuPeriodUs: number | undefined;
}

export function sandboxLimits(spec: Spec): SandboxLimits {
  const number = (name: string) => {
    const value = Number(spec.annotations?.get(`${CRI}sandbox-${name}`));
    return Number.isSafeInteger(value) && value > 0 ? value : undefined;
  };
  return {
    memoryBytes: number('memory'),
    cpuQuotaUs: number('cpu-quota'),
    cpuPeriodUs: number('cpu-period'),
  };
}
