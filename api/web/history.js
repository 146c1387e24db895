// Tasks that this browser started. Only ids and small pictures are stored here; the videos are on the server.

const STORED = "dice-talk.history";
const MOST = 30;
const KEPT_MS = 48 * 3600 * 1000; // expired videos are shown as such for a while, then removed from the list

let entries = load();
export let kept = true;

function load() {
  try {
    const found = JSON.parse(localStorage.getItem(STORED) ?? "[]");
    return found.filter((entry) => entry?.id && !(entry.status === "GONE" && Date.now() - entry.at > KEPT_MS));
  } catch {
    return [];
  }
}

function save() {
  try {
    localStorage.setItem(STORED, JSON.stringify(entries));
  } catch {
    kept = false; // full, or forbidden by the browser: the list lasts until the page is closed
  }
}

export const all = () => entries;
export const isRunning = ({ status, removing }) => !removing && (status === "PENDING" || status === "PROCESSING");
// The uploads that tasks of the list were made of.
export const uploads = () => new Set(entries.filter(({ status }) => status !== "GONE").map(({ files }) => files).filter(Boolean));
export const find = (id) => entries.find((entry) => entry.id === id);

export function add(entry) {
  const added = { at: Date.now(), status: "PENDING", progress: 0, ...entry };
  entries = [added, ...entries.filter(({ id }) => id !== entry.id)].sort((one, other) => other.at - one.at).slice(0, MOST);
  save();
}

export function update(id, changes) {
  const entry = find(id);
  if (!entry) return;
  Object.assign(entry, changes);
  save();
}

export function remove(id) {
  entries = entries.filter((entry) => entry.id !== id);
  save();
}
