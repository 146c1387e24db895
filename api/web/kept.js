// The files that tasks were made of, kept in this browser while it lists their tasks: a reload loses nothing, and they
// can be used again. Where the browser stores nothing, there are none.

const NAME = "dice-talk";
const STORE = "files";
const MOST = 6; // pairs of files; a recording may have 50 MB

let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
  });
  return opened;
}

// `work` gets the store and returns a request; its result, or null if the browser refuses.
async function withStore(mode, work) {
  try {
    const store = (await open()).transaction(STORE, mode).objectStore(STORE);
    const request = work(store);
    return await new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } catch {
    return null;
  }
}

// `id`: the task that they were uploaded for. `values`: what was set then.
export const keep = (id, { image, audio, values }) => withStore("readwrite", (store) => store.put({ id, image, audio, values, at: Date.now() }));
export const find = async (id) => (id ? await withStore("readonly", (store) => store.get(id)) : null) ?? null;
export const has = async (id) => Boolean(id && (await withStore("readonly", (store) => store.getKey(id))));

// Forgets all but the newest of those that are still `wanted`.
export async function tidy(wanted) {
  const all = (await withStore("readonly", (store) => store.getAll())) ?? [];
  const old = all.filter(({ id }) => !wanted.has(id));
  const many = all.filter(({ id }) => wanted.has(id)).sort((one, other) => other.at - one.at).slice(MOST);
  for (const { id } of [...old, ...many]) await withStore("readwrite", (store) => store.delete(id));
}
