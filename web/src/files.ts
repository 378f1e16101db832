// The first rows of a file, to ask which column is what. The service reads the file itself.

export const FIELDS = ["id", "text", "text_pair", "label", "group", "split"] as const;
export type SampleField = (typeof FIELDS)[number];

export interface Peek {
  type: "text/csv" | "application/x-ndjson" | "application/vnd.apache.parquet";
  delimiter: "," | ";" | "\t" | "|";
  columns: string[];
  rows: string[][];
}

const PEEKED_BYTES = 65_536;
const PEEKED_ROWS = 5;

export async function peek(file: File): Promise<Peek> {
  const name = file.name.toLowerCase();
  if (name.endsWith(".parquet")) {
    return { type: "application/vnd.apache.parquet", delimiter: ",", columns: [], rows: [] };
  }
  const text = new TextDecoder().decode(await file.slice(0, PEEKED_BYTES).arrayBuffer()).replace(/^\uFEFF/, "");
  const lines = /\.(ndjson|jsonl|json)$/.test(name) || text.startsWith("{");
  return lines ? peekLines(text) : peekCells(text, name.endsWith(".tsv"));
}

function peekLines(text: string): Peek {
  const found: Record<string, unknown>[] = [];
  for (const line of text.split("\n")) {
    if (found.length === PEEKED_ROWS) break;
    try {
      const row: unknown = JSON.parse(line);
      if (row !== null && typeof row === "object") found.push(row as Record<string, unknown>);
    } catch {
      // the last line is cut off, and a broken one is the service's to report
    }
  }
  const columns = [...new Set(found.flatMap((row) => Object.keys(row)))];
  const shown = (value: unknown) =>
    value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  const rows = found.map((row) => columns.map((column) => shown(row[column])));
  return { type: "application/x-ndjson", delimiter: ",", columns, rows };
}

function peekCells(text: string, tabs: boolean): Peek {
  const header = text.slice(0, text.indexOf("\n") + 1 || text.length);
  const counted = ([",", ";", "\t", "|"] as const).map((mark) => ({ mark, count: header.split(mark).length }));
  const delimiter = tabs ? "\t" : counted.reduce((most, one) => (one.count > most.count ? one : most)).mark;
  const [columns = [], ...rows] = cells(text, delimiter, PEEKED_ROWS + 1);
  return { type: "text/csv", delimiter, columns, rows };
}

/** The first rows of CSV, quotes and line ends inside quotes included. */
export function cells(text: string, delimiter: string, most: number): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length && rows.length < most; at++) {
    const letter = text[at]!;
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[at + 1] === '"') cell += text[at++];
      else quoted = false;
    } else if (letter === '"' && cell === "") quoted = true;
    else if (letter === delimiter) {
      row.push(cell);
      cell = "";
    } else if (letter === "\n") {
      rows.push([...row, cell.replace(/\r$/, "")]);
      row = [];
      cell = "";
    } else cell += letter;
  }
  if (rows.length < most && (cell !== "" || row.length > 0)) rows.push([...row, cell]);
  return rows;
}

const NAMES: Record<SampleField, string[]> = {
  id: ["id", "sample_id", "uid", "key"],
  text: ["text", "review", "sentence", "content", "query", "title", "body", "文本", "评论"],
  text_pair: ["text_pair", "text_b", "product", "document", "passage", "response"],
  label: ["label", "sentiment", "rating", "class", "category", "target", "relevance", "grade", "标签"],
  group: ["group", "query_id", "qid", "group_id"],
  split: ["split", "set", "fold"],
};

/** A guess from the names of columns; a column serves one field. */
export function guessed(columns: string[]): Partial<Record<SampleField, string>> {
  const taken = new Set<string>();
  const found: Partial<Record<SampleField, string>> = {};
  for (const field of FIELDS) {
    for (const name of NAMES[field]) {
      const column = columns.find((one) => one.toLowerCase() === name && !taken.has(one));
      if (column !== undefined) {
        found[field] = column;
        taken.add(column);
        break;
      }
    }
  }
  return found;
}
