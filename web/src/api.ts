// The service's answers. Every failure is a Problem with a code, a cause and a remedy.

export interface ProblemItem {
  index?: number;
  pointer?: string;
  id?: string;
  code?: string;
  detail: string;
}

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly remedy: string,
    readonly errors: ProblemItem[] = [],
  ) {
    super(detail);
  }
}

const STORED_KEY = "gradsift.key";
type Listener = () => void;
let askForKey: Listener = () => {};

/** What to do when the service wants a key that the page does not have. */
export function onKeyWanted(listener: Listener): void {
  askForKey = listener;
}

/** For this tab alone: gone when it is closed. */
export function keepKey(key: string): void {
  if (key) sessionStorage.setItem(STORED_KEY, key);
  else sessionStorage.removeItem(STORED_KEY);
}

export function hasKey(): boolean {
  return sessionStorage.getItem(STORED_KEY) !== null;
}

function headers(given: Record<string, string> = {}): Record<string, string> {
  const key = sessionStorage.getItem(STORED_KEY);
  return key === null ? given : { ...given, Authorization: `Bearer ${key}` };
}

async function problemOf(status: number, text: string): Promise<Problem> {
  try {
    const told = JSON.parse(text) as Partial<Problem>;
    return new Problem(status, told.code ?? "unknown", told.detail ?? text, told.remedy ?? "", told.errors ?? []);
  } catch {
    return new Problem(status, "unreadable", text.slice(0, 200) || `HTTP ${status}`, "");
  }
}

const PATIENCE = 4;

/** A service that has too much to do says when to ask again; what only looks is asked again. */
async function patiently(path: string, init: RequestInit): Promise<Response> {
  for (let tries = 1; ; tries++) {
    const answer = await fetch(path, init);
    const looks = init.method === undefined || init.method === "GET";
    if (![429, 503].includes(answer.status) || !looks || tries === PATIENCE) return answer;
    const seconds = Number(answer.headers.get("Retry-After") ?? 1);
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(5, seconds) * (0.5 + Math.random())));
  }
}

async function fetched(path: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await patiently(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "", "");
  }
  if (answer.status === 401) askForKey();
  if (!answer.ok) throw await problemOf(answer.status, await answer.text());
  return answer;
}

export type Query = Record<string, string | number | undefined>;

export function withQuery(path: string, query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  if (given.length === 0) return path;
  return `${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const answer = await fetched(path, { headers: headers(), ...(signal ? { signal } : {}) });
  return (await answer.json()) as T;
}

export async function bytes(path: string, signal?: AbortSignal): Promise<ArrayBuffer> {
  const answer = await fetched(path, { headers: headers(), ...(signal ? { signal } : {}) });
  return await answer.arrayBuffer();
}

export async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetched(path, {
    method,
    headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }),
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** Sends a file, which `fetch` could not tell the progress of. */
export function upload<T>(path: string, file: Blob, type: string, onProgress: (share: number) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers({ "Content-Type": type }))) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 0);
    request.onload = async () => {
      if (request.status === 401) askForKey();
      if (request.status < 300) resolve(JSON.parse(request.responseText) as T);
      else reject(await problemOf(request.status, request.responseText));
    };
    request.onerror = () => reject(new Problem(0, "unreachable", "", ""));
    request.send(file);
  });
}

/** Keeps what a path answers as a file. A link could not carry the key. */
export async function download(path: string, name: string): Promise<void> {
  const answer = await fetched(path, { headers: headers() });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export interface ServerEvent {
  event: string;
  data: string;
}

/** Server-sent events by `fetch`: an EventSource could not carry the key. */
export async function* events(path: string, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  const answer = await fetched(path, { headers: headers({ Accept: "text/event-stream" }), signal });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value.replaceAll("\r\n", "\n");
    let end: number;
    while ((end = held.indexOf("\n\n")) >= 0) {
      const lines = held.slice(0, end).split("\n");
      held = held.slice(end + 2);
      const told = (name: string) =>
        lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trimStart());
      if (told("data").length > 0) yield { event: told("event")[0] ?? "message", data: told("data").join("\n") };
    }
  }
}

/** A part of a path that came from a user. */
export const part = encodeURIComponent;
