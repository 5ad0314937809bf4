/**
 * Makes a small container image from the host's static busybox, as an OCI image layout in a tar file
 * (image-spec v1.0: oci-layout, index.json, blobs/sha256), for `ctr image import`. No image registry is
 * needed, and the same busybox gives the same bytes.
 *
 *   node tools/busybox-image.ts OUT.tar [NAME]
 *
 * Three layers, so that what overlay file systems do is exercised: the second replaces /etc/motd, whites out
 * /etc/removed and makes /opt/replaced opaque; the third adds files of other owners and modes.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { type TarEntry, ustar } from './ustar.ts';

export const BUSYBOX_IMAGE = 'localhost/squib/busybox:latest';
/** Where Debian's busybox-static puts it. */
export const BUSYBOX_PATH = '/bin/busybox';
/** The uid and gid of user `app` in the image. */
export const APP_ID = 1000;

export const directory = (path: string, mode = 0o755, owner = 0): TarEntry => ({
  path: `${path}/`,
  kind: 'directory',
  mode,
  uid: owner,
  gid: owner,
});
export const file = (path: string, data: string | Uint8Array, mode = 0o644, owner = 0): TarEntry => ({
  path,
  kind: 'file',
  mode,
  uid: owner,
  gid: owner,
  data: Buffer.from(data),
});
const symlink = (path: string, target: string): TarEntry => ({ path, kind: 'symlink', mode: 0o777, target });
/** A tar reader may set the mode of the entry on the file that both names share. */
const hardlink = (path: string, target: string, mode: number): TarEntry => ({
  path,
  kind: 'hardlink',
  mode,
  target,
});

/** The layers from the bottom up, as tar entries. */
function layers(busybox: Uint8Array, applets: readonly string[]): readonly TarEntry[][] {
  const base = [
    ...['bin', 'dev', 'etc', 'home', 'opt', 'proc', 'run', 'sbin', 'sys', 'usr', 'usr/bin', 'var'].map((p) =>
      directory(p),
    ),
    directory('root', 0o700),
    directory('tmp', 0o1777),
    file('bin/busybox', busybox, 0o755),
    ...applets.filter((a) => a !== 'busybox').map((a) => symlink(`bin/${a}`, 'busybox')),
    symlink('usr/bin/env', '../../bin/busybox'),
    file('etc/motd', 'from the first layer\n'),
    file('etc/removed', 'the second layer hides this\n'),
    directory('opt/replaced'),
    file('opt/replaced/first', 'the second layer hides this\n'),
  ];
  const users = [
    directory('etc'),
    file('etc/motd', 'from the second layer\n'),
    file('etc/.wh.removed', ''),
    file('etc/passwd', passwd()),
    file('etc/group', `root:x:0:\nadm:x:4:app\napp:x:${APP_ID}:\nnogroup:x:65534:\n`),
    directory('opt/replaced'),
    file('opt/replaced/.wh..wh..opq', ''),
    file('opt/replaced/second', 'only this is here\n'),
  ];
  const owners = [
    directory('home/app', 0o750, APP_ID),
    file('home/app/notes', 'of user app\n', 0o640, APP_ID),
    file('opt/setuid', '', 0o4755),
    hardlink('opt/hardlink', 'opt/setuid', 0o4755),
    symlink('opt/dangling', '/nowhere'),
  ];
  return [base, users, owners];
}

function passwd(): string {
  return [
    'root:x:0:0:root:/root:/bin/sh',
    `app:x:${APP_ID}:${APP_ID}:app:/home/app:/bin/sh`,
    'nobody:x:65534:65534:nobody:/:/bin/false',
    '',
  ].join('\n');
}

interface Blob {
  readonly digest: string;
  readonly bytes: Buffer;
}

function blob(bytes: Buffer): Blob {
  return { digest: createHash('sha256').update(bytes).digest('hex'), bytes };
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

function descriptor(mediaType: string, { digest, bytes }: Blob) {
  return {
    mediaType: `application/vnd.oci.image.${mediaType}`,
    digest: `sha256:${digest}`,
    size: bytes.length,
  };
}

/**
 * The whole image as a tar of an OCI layout; containerd imports it under `name`.
 * @param more layers on top, bottom-most first.
 */
export function busyboxImage(
  name: string = BUSYBOX_IMAGE,
  path: string = BUSYBOX_PATH,
  more: readonly (readonly TarEntry[])[] = [],
): Buffer {
  const applets = execFileSync(path, ['--list']).toString().split('\n').filter(Boolean);
  const tars = [...layers(readFileSync(path), applets), ...more].map((entries) => blob(ustar(entries)));
  const platform = { architecture: process.arch === 'arm64' ? 'arm64' : 'amd64', os: 'linux' };
  const config = blob(
    json({
      created: '1970-01-01T00:00:00Z',
      ...platform,
      config: { Env: ['PATH=/usr/bin:/bin:/sbin'], Cmd: ['/bin/sh'], WorkingDir: '/' },
      rootfs: { type: 'layers', diff_ids: tars.map(({ digest }) => `sha256:${digest}`) },
      history: tars.map((_, i) => ({ created_by: `tools/busybox-image.ts, layer ${i + 1}` })),
    }),
  );
  const manifest = blob(
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: descriptor('config.v1+json', config),
      layers: tars.map((layer) => descriptor('layer.v1.tar', layer)),
    }),
  );
  const index = {
    schemaVersion: 2,
    manifests: [
      {
        ...descriptor('manifest.v1+json', manifest),
        platform,
        annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name },
      },
    ],
  };
  return ustar([
    directory('blobs'),
    directory('blobs/sha256'),
    ...[...tars, config, manifest].map(({ digest, bytes }) => file(`blobs/sha256/${digest}`, bytes)),
    file('index.json', json(index)),
    file('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
  ]);
}

if (import.meta.main) {
  const [out, name] = process.argv.slice(2);
  if (out === undefined) {
    console.error('usage: tools/busybox-image.ts OUT.tar [NAME]');
    process.exit(2);
  }
  writeFileSync(out, busyboxImage(name));
}
