// A ZIP of files as they are: videos are compressed already.

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit += 1) rest = rest & 1 ? 0xedb88320 ^ (rest >>> 1) : rest >>> 1;
  return rest;
});

function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) sum = table[(sum ^ byte) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

// `fields`: pairs of a size in bytes and a number, little-endian.
function record(fields, ...rest) {
  const bytes = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, number] of fields) {
    if (size === 2) bytes.setUint16(at, number, true);
    else bytes.setUint32(at, number, true);
    at += size;
  }
  return [bytes.buffer, ...rest];
}

const UTF8 = 0x0800;
const VERSION = 20;
const DAY = (1 << 5) | 1; // 1 January 1980, the earliest date of the format: the same files give the same ZIP

// `files`: { name, bytes } each, together below 4 GB.
export function zip(files) {
  const parts = [], directory = [];
  let offset = 0, length = 0;
  for (const { name, bytes } of files) {
    const label = new TextEncoder().encode(name);
    const shared = [[2, UTF8], [2, 0], [2, 0], [2, DAY], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, label.length], [2, 0]];
    parts.push(...record([[4, 0x04034b50], [2, VERSION], ...shared], label, bytes));
    directory.push(...record([[4, 0x02014b50], [2, VERSION], [2, VERSION], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]], label));
    offset += 30 + label.length + bytes.length;
    length += 46 + label.length;
  }
  const end = record([[4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, length], [4, offset], [2, 0]]);
  return new Blob([...parts, ...directory, ...end], { type: "application/zip" });
}
