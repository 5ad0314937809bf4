import type { VmConfig } from '../contract.ts';

/** What the command line needs to know about the host. */
export type AcceleratorFacts =
  | { readonly kind: 'kvm' }
  /** The host's TSC rate, which TCG's guests see as theirs. */
  | { readonly kind: 'tcg'; readonly tscKhz: number };

/** Paths as the VMM sees them, inside its jail. */
export interface BootPaths {
  readonly kernel: string;
  readonly initrd: string;
}

/** Descriptors that QEMU inherits: unix stream sockets. */
export const AGENT_FD = 3;
export const QMP_FD = 4;
export const CONSOLE_FD = 5;

/** The name of the agent's port in the guest, /sys/class/virtio-ports/<device>/name. */
export const AGENT_PORT_NAME = 'org.squib.agent';

/**
 * QEMU's arguments. Pure; docs/decisions/0004-vmm-jail.md and the comments below give the reasons.
 * The device list depends on nothing but the accelerator, so VMs of a size are alike.
 */
export function qemuArguments(config: VmConfig, paths: BootPaths, accelerator: AcceleratorFacts): string[] {
  const { vcpuCount, memSizeMib } = config.machine;
  return [
    ...['-name', `guest=${config.id}`],
    ...['-M', machine(accelerator)],
    ...cpu(accelerator),
    ...['-smp', String(vcpuCount)],
    ...['-m', `${memSizeMib}M`],
    // Nothing that is not named here: no default devices, no configuration file, no window.
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    // A guest that reboots or panics ends its VM.
    '-no-reboot',
    ...['-kernel', paths.kernel, '-initrd', paths.initrd],
    ...['-append', kernelCommandLine(config.boot.bootArgs, accelerator)],
    // Else microvm offers the legacy transport.
    ...['-global', 'virtio-mmio.force-legacy=false'],
    // Port 0 is reserved for a console; every further port is two more queues for the guest to set up.
    ...['-device', 'virtio-serial-device,max_ports=2'],
    ...['-chardev', `socket,id=agent,fd=${AGENT_FD}`],
    ...['-device', `virtserialport,chardev=agent,name=${AGENT_PORT_NAME},id=agent-port,nr=1`],
    ...['-chardev', `socket,id=qmp,fd=${QMP_FD}`, '-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', `socket,id=console,fd=${CONSOLE_FD}`, '-serial', 'chardev:console'],
    ...['-device', 'virtio-scsi-device,id=scsi'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
  ];
}

function machine(accelerator: AcceleratorFacts): string {
  // Without an RTC the kernel waits for one under TCG: the boot takes twice as long.
  return accelerator.kind === 'tcg' ? 'microvm,acpi=on,rtc=on' : 'microvm,acpi=on';
}

function cpu(accelerator: AcceleratorFacts): string[] {
  // erms, fsrm: a guest that sees them copies and clears memory by `rep movsb`, which emulation does
  // byte by byte (10 % of a boot, and every copy after it). la57: five-level page tables, which
  // emulation walks as well, serve no guest of this size.
  return accelerator.kind === 'kvm'
    ? ['-accel', 'kvm', '-cpu', 'host']
    : ['-accel', 'tcg', '-cpu', 'max,erms=off,fsrm=off,la57=off'];
}

function kernelCommandLine(bootArgs: string, accelerator: AcceleratorFacts): string {
  return [
    // The console shows errors, oopses and panics only: an emulated UART is slow.
    'console=ttyS0 quiet',
    // At once: with -no-reboot the VM ends, and the console tail tells why.
    'panic=-1',
    // There is no PCI: its first step would report that as a fatal error on the console. And the
    // certificates that sign the distribution's modules take 3 % of a boot under TCG; ours have none.
    'initcall_blacklist=pci_arch_init,load_system_certificate_list',
    // The distribution's kernel tests its ciphers at every boot: an eighth of it under TCG.
    'cryptomgr.notests',
    ...(accelerator.kind === 'tcg' ? tcgCommandLine(accelerator.tscKhz) : []),
    ...(bootArgs === '' ? [] : [bootArgs]),
  ].join(' ');
}

function tcgCommandLine(tscKhz: number): string[] {
  return [
    // microvm has no clock to calibrate the TSC by except the PIT, which fails under TCG and hangs
    // the boot. KVM guests have kvmclock.
    `tsc_early_khz=${tscKhz} tsc=reliable no_timer_check`,
    // Patching thousands of lock prefixes out throws translated code away each time: 8 % of a boot.
    'noreplace-smp',
  ];
}
