import { useState } from "preact/hooks";
import { part, type Problem, upload } from "../api";
import type { Dataset, Ingested } from "../contract";
import { asProblem } from "../data";
import { FIELDS, guessed, type Peek, peek, type SampleField } from "../files";
import { Card, Failure, Field, Meter } from "../parts";
import { number, percent, t, told } from "../words";

export function AddSamples({ dataset, onStored }: { dataset: Dataset; onStored: () => void }) {
  const [file, setFile] = useState<{ file: File; peek: Peek } | null>(null);
  const [over, setOver] = useState(false);
  const take = async (given: File | undefined) => {
    if (given) setFile({ file: given, peek: await peek(given) });
  };
  return (
    <Card title={t("add_samples")} wide>
      <label
        class={over ? "drop over" : "drop"}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          void take(event.dataTransfer?.files[0]);
        }}
      >
        <input
          type="file"
          accept=".csv,.tsv,.ndjson,.jsonl,.parquet"
          onChange={(event) => void take(event.currentTarget.files?.[0])}
        />
        {file ? `${file.file.name} · ${number(Math.ceil(file.file.size / 1024))} KiB` : t("drop_file")}
      </label>
      {file && <Columns key={file.file.name + file.file.size} {...file} dataset={dataset} onStored={onStored} />}
    </Card>
  );
}

function Columns(props: { file: File; peek: Peek; dataset: Dataset; onStored: () => void }) {
  const { file, peek: first } = props;
  const [chosen, setChosen] = useState(() => guessed(first.columns));
  const [numbered, setNumbered] = useState(() => first.columns.length > 0 && guessed(first.columns).id === undefined);
  const [share, setShare] = useState<number | null>(null);
  const [told_, setTold] = useState<Ingested | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const blind = first.columns.length === 0;
  const lacking = !blind && chosen.text === undefined;

  const post = async () => {
    setShare(0);
    setProblem(null);
    setTold(null);
    try {
      setTold(await upload<Ingested>(target(props.dataset.name, first, chosen, numbered), file, first.type, setShare));
      props.onStored();
    } catch (error) {
      setProblem(asProblem(error));
    }
    setShare(null);
  };
  return (
    <>
      {blind ? (
        <p class="quiet">{t("parquet_blind")}</p>
      ) : (
        <>
          <h3>{t("map_columns")}</h3>
          <div class="filters">
            {FIELDS.map((field) => (
              <Field label={t(`field_${field}`)}>
                <select
                  value={field === "id" && numbered ? "" : (chosen[field] ?? "")}
                  onChange={(event) => {
                    const column = event.currentTarget.value;
                    if (field === "id") setNumbered(column === "");
                    setChosen(({ [field]: _, ...rest }) => (column ? { ...rest, [field]: column } : rest));
                  }}
                >
                  <option value="">{field === "id" ? t("ids_made") : t("column_none")}</option>
                  {first.columns.map((column) => (
                    <option value={column}>{column}</option>
                  ))}
                </select>
              </Field>
            ))}
          </div>
          <Preview peek={first} chosen={chosen} />
        </>
      )}
      {lacking && <p class="quiet">{t("text_needed")}</p>}
      <div class="buttons">
        <button type="button" class="main" disabled={lacking || share !== null} onClick={post}>
          {t("send_file", { rows: file.name })}
        </button>
      </div>
      {share !== null && (
        <p aria-live="polite">
          <Meter share={share} label={t("progress")} />{" "}
          {share < 1 ? t("sending", { percent: percent(share) }) : t("storing")}
        </p>
      )}
      {problem && <Failure problem={problem} />}
      {told_ && <Report report={told_} />}
    </>
  );
}

function target(dataset: string, first: Peek, chosen: Partial<Record<SampleField, string>>, numbered: boolean): string {
  const query = new URLSearchParams();
  for (const [field, column] of Object.entries(chosen)) {
    if (field !== column && !(field === "id" && numbered)) query.append("column", `${field}:${column}`);
  }
  if (numbered) query.set("ids", "rows");
  if (first.type === "text/csv" && first.delimiter !== ",") query.set("delimiter", first.delimiter);
  return `/v1/datasets/${part(dataset)}/samples?${query}`;
}

function Preview({ peek: first, chosen }: { peek: Peek; chosen: Partial<Record<SampleField, string>> }) {
  const use = new Map(Object.entries(chosen).map(([field, column]) => [column, field]));
  return (
    <div class="scrolls">
      <table class="rows preview">
        <caption>{t("first_rows")}</caption>
        <thead>
          <tr>
            {first.columns.map((column) => (
              <th class={use.has(column) ? "used" : ""}>
                <bdi>{column}</bdi> {use.has(column) && <small>{told("field", use.get(column)!)}</small>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {first.rows.map((row) => (
            <tr>
              {first.columns.map((_, at) => (
                <td>
                  <bdi dir="auto">{(row[at] ?? "").slice(0, 80)}</bdi>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Report({ report }: { report: Ingested }) {
  const { received, created, updated, unchanged, rejected_total, rejected } = report;
  const counts = { received, created, updated, unchanged, rejected: rejected_total };
  const said = Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, number(count)]));
  return (
    <div aria-live="polite">
      <p class="success">{t("sent", said)}</p>
      {rejected.length > 0 && (
        <table class="rows">
          <thead>
            <tr>
              <th>{t("row")}</th>
              <th>id</th>
              <th>{t("error")}</th>
            </tr>
          </thead>
          <tbody>
            {rejected.slice(0, 100).map((one) => (
              <tr>
                <td class="number">{number(one.index + 1)}</td>
                <td>
                  <bdi>{one.id}</bdi>
                </td>
                <td>
                  <code>{one.code}</code> {one.detail}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
}
