// Requests to the server, and answers of arrays: a line of JSON, then the bytes of each array.

export class Refusal extends Error {
  constructor(sentence, status, isSuperseded) {
    super(sentence);
    Object.assign(this, { status, isSuperseded });
  }
}

const ARRAYS = { uint8: Uint8Array, float32: Float32Array, int32: Int32Array };

async function send(path, init) {
  let response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new Refusal("The program that serves this page does not answer. Is it still running?", 0, false);
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Refusal(told.error ?? `The server answered ${response.status}.`, response.status, told.superseded === true);
}

function post(path, fields) {
  const headers = { "Content-Type": "application/json" };
  return send(path, { method: "POST", headers, body: JSON.stringify(fields) });
}

export async function state() {
  return (await send("/api/state")).json();
}

export async function askJson(path, fields) {
  return (await post(path, fields)).json();
}

export async function askArrays(path, fields) {
  return unpack(await (await post(path, fields)).arrayBuffer());
}

export async function askBlob(path, fields) {
  const response = await post(path, fields);
  const named = /filename\*=UTF-8''(.*)$/.exec(response.headers.get("Content-Disposition") ?? "");
  return { blob: await response.blob(), name: named ? decodeURIComponent(named[1]) : "latent" };
}

export async function upload(file) {
  const headers = { "Content-Type": "application/octet-stream", "X-File-Name": encodeURIComponent(file.name) };
  const response = await send("/api/upload", { method: "POST", headers, body: file });
  return unpack(await response.arrayBuffer());
}

// The facts of an answer, and in `arrays` each array as { shape, values }.
export function unpack(buffer) {
  const bytes = new Uint8Array(buffer);
  const end = bytes.indexOf(10);
  const facts = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const arrays = {};
  let place = Math.ceil((end + 1) / 8) * 8;
  for (const { name, dtype, shape } of facts.arrays) {
    const num = shape.reduce((product, length) => product * length, 1);
    const values = new ARRAYS[dtype](buffer, place, num);
    arrays[name] = { shape, values };
    place += Math.ceil(values.byteLength / 8) * 8;
  }
  return { ...facts, arrays };
}
