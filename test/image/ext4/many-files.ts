/** Makes an image of many small files and prints the peak of this process' memory in KiB: image, count. */
import { createExt4Image } from '../../../src/image/ext4/image.ts';

const [, , image = '', count = '0'] = process.argv;
const builder = createExt4Image(image, { uuid: new Uint8Array(16).fill(1), sync: false });
const { tree, data } = builder;
const attributes = { uid: 0, gid: 0, mtimeSeconds: 1, mtimeNanos: 0 };
const content = Buffer.alloc(800, 'x');
let directory = tree.root;
for (let i = 0; i < Number(count); i++) {
  if (i % 50 === 0) directory = tree.add(tree.root, `directory-${i}`, { ...attributes, mode: 0o40755 });
  const xattrs = new Map([['user.unique', Buffer.from(`value ${i}`)]]);
  const node = tree.add(directory, `file-with-a-name-${i}`, { ...attributes, mode: 0o100644, xattrs });
  data.beginFile(node, content.length);
  data.write(content);
  data.endFile();
}
builder.finish();
process.stdout.write(`${process.resourceUsage().maxRSS}\n`);
