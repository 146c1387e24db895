// Converts files into the formats that the API accepts: JPEG or PNG, and WAV or MP3.

export const MAX_IMAGE_BYTES = 10 * 1024 * 1024;
export const MAX_AUDIO_BYTES = 50 * 1024 * 1024;
export const MAX_SECONDS = 300;
const MAX_PIXELS = 50e6;
const SHRUNK_SIDE = 4096; // more than any video has
const THUMBNAIL = 128;
const THUMBNAIL_FACES = 2.5; // heights of the face in it

export class UnreadableFile extends Error {}
export class FileTooLarge extends Error {}

const head = async (file, length) => new Uint8Array(await file.slice(0, length).arrayBuffer());
const begins = (bytes, ...wanted) => wanted.every((value, place) => bytes[place] === value);
const text = (bytes, from, to) => String.fromCharCode(...bytes.slice(from, to));

async function isPicture(file) {
  const bytes = await head(file, 8);
  return begins(bytes, 0xff, 0xd8, 0xff) || begins(bytes, 0x89, 0x50, 0x4e, 0x47);
}

async function isRecording(file) {
  const bytes = await head(file, 12);
  const wav = ["RIFF", "RF64"].includes(text(bytes, 0, 4)) && text(bytes, 8, 12) === "WAVE";
  return wav || text(bytes, 0, 3) === "ID3" || (bytes[0] === 0xff && (bytes[1] & 0xe6) === 0xe2);
}

// A name that the API accepts and that people still recognise.
const renamed = (blob, name, ending, type) => new File([blob], name.replace(/\.\w+$/, "") + ending, { type });

// Pictures become JPEGs if they are too large, or if only the browser can read them (WebP, AVIF, HEIC in some).
export async function preparePicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new UnreadableFile();
  }
  const { width, height } = bitmap;
  const fits = file.size <= MAX_IMAGE_BYTES && width * height <= MAX_PIXELS && (await isPicture(file));
  if (fits) return { file, width, height, thumbnail: thumbnail(bitmap, [width, height]) };
  const scale = Math.min(1, SHRUNK_SIDE / Math.max(width, height));
  const canvas = draw(bitmap, Math.round(width * scale), Math.round(height * scale));
  const jpeg = await toJpeg(canvas, 0.94);
  return {
    file: renamed(jpeg, file.name, ".jpg", "image/jpeg"),
    width: canvas.width,
    height: canvas.height,
    thumbnail: thumbnail(bitmap, [width, height]),
  };
}

function draw(source, width, height, crop = [0, 0, source.width, source.height]) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // transparent areas become white, as on the server
  context.fillRect(0, 0, width, height);
  context.drawImage(source, ...crop, 0, 0, width, height);
  return canvas;
}

const toJpeg = (canvas, quality) => new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));

// Small enough for dozens of them in localStorage. Faces are usually above the middle.
export function thumbnail(source, [width, height], face = null) {
  const side = Math.min(width, height, face ? THUMBNAIL_FACES * face.height : Infinity);
  const within = (wanted, most) => Math.max(0, Math.min(most - side, wanted));
  const left = face ? within(face.left + (face.width - side) / 2, width) : (width - side) / 2;
  const top = face ? within(face.top + (face.height - side) / 2, height) : (height - side) / 4;
  return draw(source, THUMBNAIL, THUMBNAIL, [left, top, side, side]).toDataURL("image/jpeg", 0.72);
}

export function pictureOf(video) {
  const canvas = draw(video, video.videoWidth, video.videoHeight, [0, 0, video.videoWidth, video.videoHeight]);
  return toJpeg(canvas, 0.94);
}

// WAV and MP3 are sent as they are; other formats that the browser can decode become 16-bit WAVs.
export async function prepareSpeech(file) {
  const plain = await isRecording(file);
  if (plain && file.size > MAX_AUDIO_BYTES) throw new FileTooLarge();
  const sound = await decode(file);
  if (plain) return { file, seconds: sound?.duration ?? null, peaks: sound ? peaksOf(sound) : null };
  if (!sound) throw new UnreadableFile();
  const wav = new Blob([encodeWav(mono(sound), sound.sampleRate)]);
  return { file: renamed(wav, file.name, ".wav", "audio/wav"), seconds: sound.duration, peaks: peaksOf(sound) };
}

async function decode(file) {
  const context = new OfflineAudioContext(1, 1, 48_000);
  try {
    return await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    return null; // the server may be able to read it
  }
}

function mono(sound) {
  const length = Math.min(sound.length, MAX_SECONDS * sound.sampleRate);
  const mixed = new Float32Array(length);
  for (let channel = 0; channel < sound.numberOfChannels; channel += 1) {
    const samples = sound.getChannelData(channel);
    for (let i = 0; i < length; i += 1) mixed[i] += samples[i] / sound.numberOfChannels;
  }
  return mixed;
}

function encodeWav(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const write = (place, word) => [...word].forEach((letter, i) => bytes.setUint8(place + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  bytes.setUint32(4, 36 + 2 * samples.length, true);
  write(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true); // PCM
  bytes.setUint16(22, 1, true); // channels
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, 2 * rate, true); // bytes a second
  bytes.setUint16(32, 2, true); // bytes a sample
  bytes.setUint16(34, 16, true); // bits a sample
  write(36, "data");
  bytes.setUint32(40, 2 * samples.length, true);
  for (let i = 0; i < samples.length; i += 1) {
    const value = Math.max(-1, Math.min(1, samples[i]));
    bytes.setInt16(44 + 2 * i, Math.round(value * 32_767), true);
  }
  return bytes.buffer;
}

const BARS = 96;

// The loudest sample of each of `BARS` sections, relative to the loudest of all.
function peaksOf(sound) {
  const samples = sound.getChannelData(0);
  const stretch = Math.max(1, Math.floor(samples.length / BARS));
  const peaks = Array.from({ length: BARS }, (_, bar) => {
    let peak = 0;
    // Every eighth sample is enough for a picture, and five minutes have 14 million.
    for (let i = bar * stretch; i < Math.min((bar + 1) * stretch, samples.length); i += 8) peak = Math.max(peak, Math.abs(samples[i]));
    return peak;
  });
  const loudest = Math.max(...peaks, 1e-4);
  return peaks.map((peak) => peak / loudest);
}
