import type { Inode } from '../ext4/read/inode.ts';
import { walk } from '../ext4/read/walk.ts';
import { Ext4Reader } from '../ext4/reader.ts';
import { type Command, EXIT_OK, type ExitCode, type Surroundings } from './command.ts';
import { jsonName, modeText, rawName, shownName, timeText } from './text.ts';

export const LS: Command = {
  summary: 'lists a directory, or all that is below it',
  operands: ['IMAGE', '[PATH]'],
  options: {
    recursive: { short: 'r', help: 'all files below PATH' },
    long: { short: 'l', help: 'with mode, links, owner, size and time' },
  },
  notes: 'Bytes of names that a terminal should not get are shown as escapes.',
  run: list,
};

function list({ operands, options, stdout, isJson }: Surroundings): ExitCode {
  const [image = '', path = ''] = operands;
  using reader = Ext4Reader.open(image);
  const start = reader.resolve(rawName(path), true);
  const show = (name: string, inode: Inode) => {
    if (isJson) stdout.line(JSON.stringify(described(reader, name, inode)));
    else if (options['long'] !== undefined) stdout.line(longLine(reader, name, inode));
    else stdout.line(shownName(name));
  };
  if (start.type !== 'directory') {
    show(rawName(path), start);
  } else if (options['recursive'] !== undefined) {
    for (const step of walk(reader, start))
      if (step.kind === 'entry' && step.path !== '') show(step.path, step.inode);
  } else {
    for (const entry of reader.entries(start)) show(entry.name, reader.inode(entry.inode));
  }
  return EXIT_OK;
}

function longLine(reader: Ext4Reader, name: string, inode: Inode): string {
  const { links, uid, gid, size, mtimeSeconds, type, rdevMajor, rdevMinor } = inode;
  const isDevice = type === 'character' || type === 'block';
  const amount = isDevice ? `${rdevMajor},${rdevMinor}` : `${size}`;
  const target = type === 'symlink' ? ` -> ${shownName(reader.target(inode))}` : '';
  return [
    modeText(inode),
    `${links}`.padStart(4),
    `${uid}:${gid}`.padStart(11),
    amount.padStart(12),
    timeText(mtimeSeconds),
    `${shownName(name)}${target}`,
  ].join(' ');
}

function described(reader: Ext4Reader, name: string, inode: Inode): Record<string, unknown> {
  const { number, type, permissions, links, uid, gid, size, mtimeSeconds, mtimeNanos } = inode;
  const isDevice = type === 'character' || type === 'block';
  const xattrs = [...reader.xattrs(inode)].map(([key, value]) => [
    key,
    Buffer.from(value).toString('base64'),
  ]);
  return {
    ...jsonName('path', name),
    type,
    inode: number,
    mode: `0${permissions.toString(8)}`,
    links,
    uid,
    gid,
    size,
    mtimeSeconds,
    mtimeNanos,
    ...(isDevice ? { rdevMajor: inode.rdevMajor, rdevMinor: inode.rdevMinor } : {}),
    ...(type === 'symlink' ? jsonName('target', reader.target(inode)) : {}),
    ...(xattrs.length > 0 ? { xattrs: Object.fromEntries(xattrs) } : {}),
  };
}
