// A form for any kind of job, made of what the service says of its parameters.

import { useEffect, useMemo, useState } from "preact/hooks";
import { part, type Problem, send } from "../api";
import type { Dataset, Job } from "../contract";
import { asProblem, useAsked } from "../data";
import { Card, Failure, Field, Shown } from "../parts";
import { go } from "../route";
import { duration, number, t, told } from "../words";

interface Parameter {
  type?: string;
  enum?: (string | number)[];
  $ref?: string;
  properties?: Record<string, Parameter>;
  anyOf?: Parameter[];
  default?: unknown;
  description?: string;
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
}

interface Kind {
  kind: string;
  trains: boolean;
  params: { properties: Record<string, Parameter>; required?: string[]; $defs?: Record<string, Parameter> };
}

interface Estimated {
  estimate: {
    steps: number | null;
    train_samples: number | null;
    seconds: { low: number; likely: number; high: number } | null;
    basis: string;
  };
}

/** Those that most people want to see; the others are folded. */
const FIRST = ["num_train_epochs", "learning_rate", "max_length", "per_device_train_batch_size", "policy"];
const FIRST_OF: Record<string, string[]> = {
  score: [...FIRST, "core_fraction"],
  train: ["set", "version", ...FIRST],
  compare: ["subsets", "seeds", ...FIRST],
  grow: ["max_rounds", "core_fraction", ...FIRST],
  import: ["url", "format", "ids"],
  split: ["by", "validation", "test", "field"],
  label: ["grades", "negatives", "split"],
};

export function StartJob({ dataset, kind }: { dataset: Dataset; kind: string }) {
  const kinds = useAsked<{ items: Kind[] }>("/v1/jobs/kinds");
  return (
    <Shown {...kinds}>
      {({ items }) => (
        <Card title={t("start_job")} wide>
          <div class="tabs" role="tablist">
            {items.map((one) => (
              <a
                role="tab"
                aria-selected={one.kind === kind}
                class={one.kind === kind ? "here" : ""}
                href={`#/d/${part(dataset.name)}/start/${one.kind}`}
              >
                {one.kind}
              </a>
            ))}
          </div>
          <p>{told("kind", kind)}</p>
          {items
            .filter((one) => one.kind === kind)
            .map((one) => (
              <Form key={kind} dataset={dataset} kind={one} />
            ))}
        </Card>
      )}
    </Shown>
  );
}

function Form({ dataset, kind }: { dataset: Dataset; kind: Kind }) {
  const [model, setModel] = useState("demo");
  const [given, setGiven] = useState<Record<string, string>>({});
  const [problem, setProblem] = useState<Problem | null>(null);
  const [estimated, setEstimated] = useState<Estimated["estimate"] | null>(null);
  const known = useMemo(() => parametersOf(kind), [kind]);
  const properties = Object.entries(known);
  const first = FIRST_OF[kind.kind] ?? FIRST;
  const shown = properties.filter(([name]) => first.includes(name) || kind.params.required?.includes(name));
  const folded = properties.filter((one) => !shown.includes(one));
  const body = useMemo(
    () => ({
      dataset: dataset.name,
      kind: kind.kind,
      ...(kind.trains && { model }),
      params: Object.fromEntries(
        Object.entries(given)
          .filter(([, text]) => text.trim() !== "")
          .map(([name, text]) => [name, valueOf(text, known[name]!)]),
      ),
    }),
    [dataset.name, given, kind, known, model],
  );

  const lacking = (kind.params.required ?? []).some((name) => !given[name]?.trim());
  useEffect(() => {
    if (lacking) return;  // what is not filled in yet is no mistake
    const timer = setTimeout(() => {
      send<Estimated>("POST", "/v1/jobs?dry_run=true", body).then(
        ({ estimate }) => {
          setEstimated(estimate);
          setProblem(null);
        },
        (error) => {
          setEstimated(null);
          setProblem(asProblem(error));
        },
      );
    }, 400);
    return () => clearTimeout(timer);
  }, [body, lacking]);

  const start = async (event: Event) => {
    event.preventDefault();
    try {
      const job = await send<Job>("POST", "/v1/jobs", body);
      go("jobs", job.id);
    } catch (error) {
      setProblem(asProblem(error));
    }
  };
  const input = ([name, parameter]: [string, Parameter]) => (
    <ParameterField
      key={name}
      name={name}
      parameter={parameter}
      required={kind.params.required?.includes(name) ?? false}
      value={given[name] ?? ""}
      onChange={(text) => setGiven((before) => ({ ...before, [name]: text }))}
    />
  );
  return (
    <form onSubmit={start} class="form">
      {kind.trains && (
        <Field label={t("model")}>
          <input required value={model} onInput={(event) => setModel(event.currentTarget.value)} />
        </Field>
      )}
      {shown.map(input)}
      {folded.length > 0 && (
        <details>
          <summary>
            {t("advanced")} ({folded.length})
          </summary>
          <div class="form">{folded.map(input)}</div>
        </details>
      )}
      {problem && <Failure problem={problem} />}
      {estimated?.seconds && (
        <p aria-live="polite">
          {t("estimate")}: <strong>{duration(estimated.seconds.likely)}</strong>{" "}
          <span class="quiet">
            {t("between", { low: duration(estimated.seconds.low), high: duration(estimated.seconds.high) })} ·{" "}
            {told("basis", estimated.basis)}
            {estimated.steps !== null && ` · ${t("steps", { count: number(estimated.steps) })}`}
          </span>
        </p>
      )}
      <div class="buttons">
        <button type="submit" class="main">
          {t("begin")}
        </button>
      </div>
    </form>
  );
}

function shownDefault(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Each parameter with the type that it has where it is given. */
function parametersOf({ params }: Kind): Record<string, Parameter> {
  const named = (one: Parameter): Parameter => (one.$ref ? { ...params.$defs?.[one.$ref.split("/").at(-1)!], ...one } : one);
  const plain = (one: Parameter): Parameter => ({ ...named(one.anyOf?.find((other) => other.type !== "null") ?? one), ...one });
  return Object.fromEntries(Object.entries(params.properties).map(([name, one]) => [name, plain(one)]));
}

/** What an object may look like: its own parameters with their defaults. */
function example({ properties }: Parameter): string {
  if (!properties) return "";
  const known = Object.entries(properties).filter(([, one]) => one.default !== undefined && one.default !== null);
  return JSON.stringify(Object.fromEntries(known.map(([name, one]) => [name, one.default])));
}

function ParameterField(props: {
  name: string;
  parameter: Parameter;
  required: boolean;
  value: string;
  onChange: (text: string) => void;
}) {
  const { parameter } = props;
  const standard = parameter.default === undefined || parameter.default === null ? "" : shownDefault(parameter.default);
  const hint = [parameter.description?.replaceAll("`", ""), standard && `${t("by_default")}: ${standard}`].filter(Boolean).join(" · ");
  const values = parameter.enum ?? (parameter.type === "boolean" ? ["true", "false"] : null);
  return (
    <Field label={props.name} hint={hint}>
      {values ? (
        <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
          <option value="">{standard || "–"}</option>
          {values.map((value) => (
            <option value={String(value)}>{String(value)}</option>
          ))}
        </select>
      ) : (
        <input
          required={props.required}
          inputMode={parameter.type === "integer" || parameter.type === "number" ? "decimal" : "text"}
          placeholder={standard || example(parameter)}
          value={props.value}
          onInput={(event) => props.onChange(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

/** Text as JSON where the parameter is no text; what is no JSON goes as it is, and the service says what is wrong. */
function valueOf(text: string, parameter: Parameter): unknown {
  const { type, enum: values } = parameter;
  if (type === "string" || values?.includes(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return type === "array" ? text.split(",").map((one) => one.trim()) : text;
  }
}
