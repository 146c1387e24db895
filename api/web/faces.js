// Eight faces, drawn: one round head, and what each emotion does to brows, eyes and mouth. All in a box of 64 x 64.

const SVG = "http://www.w3.org/2000/svg";

// kind "line" is stroked, "fill" filled with ink, "white" and "tongue" with their colours.
const LINE = "line", FILL = "fill", WHITE = "white", TONGUE = "tongue", BLUSH = "blush", TEAR = "tear";

const dot = (x, y, rx = 2.6, ry = 3.4) => [FILL, `M${x - rx} ${y}a${rx} ${ry} 0 1 0 ${2 * rx} 0a${rx} ${ry} 0 1 0 ${-2 * rx} 0z`];
const wide = (x, y, r = 5) => [WHITE, `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`];

const FEATURES = {
  neutral: [
    dot(23, 29), dot(41, 29),
    [LINE, "M18 21.5q5-2 9.5-.4"], [LINE, "M46 21.5q-5-2-9.5-.4"],
    [LINE, "M24.5 44h15"],
  ],
  happy: [
    [LINE, "M17.5 30q5-7.5 10.5 0"], [LINE, "M36 30q5.5-7.5 10.5 0"],
    [LINE, "M17.5 20q4.5-3.6 9.5-1.6"], [LINE, "M46.5 20q-4.5-3.6-9.5-1.6"],
    [BLUSH, "M12.5 37.5a3.6 2.4 0 1 0 7.2 0a3.6 2.4 0 1 0-7.2 0z"],
    [BLUSH, "M44.3 37.5a3.6 2.4 0 1 0 7.2 0a3.6 2.4 0 1 0-7.2 0z"],
    [FILL, "M20.5 39.5q11.5 3 23 0q-1.5 12.5-11.5 12.5t-11.5-12.5z"],
    [TONGUE, "M25.8 49.3q6.2-4.6 12.4 0q-2.6 2.7-6.2 2.7t-6.2-2.7z"],
  ],
  sad: [
    dot(23, 31.5, 2.6, 3.2), dot(41, 31.5, 2.6, 3.2),
    [LINE, "M16.5 26q5-1.6 9.5-6"], [LINE, "M47.5 26q-5-1.6-9.5-6"],
    [LINE, "M23.5 48q8.5-8.5 17 0"],
    [TEAR, "M45.3 37.5q3.4 4.8 0 6.6q-3.6-1.6 0-6.6z"],
  ],
  angry: [
    dot(23.5, 31.5, 2.7, 3), dot(40.5, 31.5, 2.7, 3),
    [LINE, "M15.5 21.5q6.5.5 12 6"], [LINE, "M48.5 21.5q-6.5.5-12 6"],
    [FILL, "M22.5 48.5q0-6.5 9.5-6.5t9.5 6.5q-9.5 2.6-19 0z"],
    [WHITE, "M25 45.4q7-2.2 14 0l-.5 1.9q-6.5 1-13 0z"],
  ],
  surprised: [
    wide(22.5, 29.5, 5.4), wide(41.5, 29.5, 5.4),
    dot(22.5, 29.5, 2.2, 2.5), dot(41.5, 29.5, 2.2, 2.5),
    [LINE, "M15.5 18q6-6.6 11.5-2.4"], [LINE, "M48.5 18q-6-6.6-11.5-2.4"],
    [FILL, "M26.2 46.3a5.8 7.4 0 1 0 11.6 0a5.8 7.4 0 1 0-11.6 0z"],
    [TONGUE, "M28 50.9q4-3.4 8 0q-1.5 2.7-4 2.7t-4-2.7z"],
  ],
  disgusted: [
    [LINE, "M18.5 27.5l8 3.3l-8 2.6"], [LINE, "M45.5 27.5l-8 3.3l8 2.6"],
    [LINE, "M16.5 22.5q5.5-1 10.5 2.5"], [LINE, "M47.5 20q-5.5.5-10 4"],
    [LINE, "M29.5 37q2.5-2.2 5 0"],
    [LINE, "M20.5 45.5q4.5-5 9.5-2t12.5.5"],
    [TONGUE, "M31.8 44.3q4.7 1.2 8.2.2q1.4 8.2-3.5 8.2t-4.7-8.4z"],
  ],
  fear: [
    wide(22.5, 30.5, 5), wide(41.5, 30.5, 5),
    dot(22.5, 31, 1.7, 1.9), dot(41.5, 31, 1.7, 1.9),
    [LINE, "M15.5 22.5q5.5-.5 9.5-5.5"], [LINE, "M48.5 22.5q-5.5-.5-9.5-5.5"],
    [LINE, "M20.5 47.5q2.9-5 5.8-1.5t5.7 0t5.7 0t5.8 1.5"],
    [TEAR, "M54.2 24.5q3.4 4.8 0 6.6q-3.6-1.6 0-6.6z"],
  ],
  contempt: [
    dot(23, 30.5, 2.6, 2.4), dot(41, 30.5, 2.6, 2.4),
    [LINE, "M17.8 26.4q5-1.2 10 .9"], [LINE, "M45.7 27.6q-4.7-1.7-9.2.3"],
    [LINE, "M46.5 19q-5.5-3.2-9.7 1.2"],
    [LINE, "M23.5 45.5q9.5 1.5 16.5-3.5q2.4-1.8 1.5-4"],
  ],
};

function path(kind, d) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("d", d);
  element.setAttribute("class", `face-${kind}`);
  return element;
}

// Decorative: the emotion is always written beside the face.
export function face(emotion) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 64 64");
  svg.setAttribute("class", "face");
  svg.setAttribute("aria-hidden", "true");
  svg.dataset.emotion = emotion;
  svg.append(path("head", "M3 32a29 29 0 1 0 58 0a29 29 0 1 0-58 0z"));
  for (const [kind, d] of FEATURES[emotion] ?? FEATURES.neutral) svg.append(path(kind, d));
  return svg;
}
