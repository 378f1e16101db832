// What several pages are made of.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Problem } from "../api";
import { type Label, type SetName, SETS } from "../contract";
import { number, percent, t, told } from "../words";

export function Failure({ problem }: { problem: Problem }) {
  const unreachable = problem.code === "unreachable";
  return (
    <div class="failure" role="alert">
      <strong>{unreachable ? t("unreachable") : problem.detail}</strong>
      <p>{unreachable ? t("unreachable_remedy") : problem.remedy}</p>
      {problem.errors.length > 0 && (
        <ul>
          {problem.errors.slice(0, 20).map((one) => (
            <li>
              <code>{one.pointer ?? one.index}</code> {one.detail}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** Shows what was asked for once it is there, and what went wrong if it did. */
export function Shown<T>(props: {
  data: T | null;
  problem: Problem | null;
  children: (data: T) => ComponentChildren;
}) {
  return (
    <>
      {props.problem && <Failure problem={props.problem} />}
      {props.data !== null && props.children(props.data)}
      {props.data === null && props.problem === null && <p class="quiet">{t("loading")}</p>}
    </>
  );
}

export function Card(props: { title?: string; side?: ComponentChildren; children: ComponentChildren; wide?: boolean }) {
  return (
    <section class={props.wide ? "card wide" : "card"}>
      {props.title && (
        <header>
          <h2>{props.title}</h2>
          {props.side}
        </header>
      )}
      {props.children}
    </section>
  );
}

export function SetTag({ set }: { set: SetName }) {
  return <span class={`set ${set}`}>{told("set", set)}</span>;
}

export function LabelName({ label }: { label: Label | null }) {
  return label === null ? <span class="quiet">{t("no_label")}</span> : <span class="label">{String(label)}</span>;
}

/** Sizes of sets as one bar, with the figures below it. */
export function SetBar({ sizes }: { sizes: Partial<Record<SetName, number>> }) {
  const parts = SETS.map((set) => ({ set, size: sizes[set] ?? 0 })).filter((part) => part.size > 0);
  const all = parts.reduce((sum, part) => sum + part.size, 0);
  if (all === 0) return <p class="quiet">{t("no_sets")}</p>;
  const said = parts.map((part) => `${told("set", part.set)}: ${number(part.size)}`).join(", ");
  return (
    <div class="setbar">
      <div class="bar" role="img" aria-label={said}>
        {parts.map((part) => (
          <span class={part.set} style={{ flexGrow: part.size }} />
        ))}
      </div>
      <ul>
        {parts.map((part) => (
          <li>
            <SetTag set={part.set} /> {number(part.size)} <span class="quiet">{percent(part.size / all)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

export function Meter({ share, label }: { share: number; label: string }) {
  return <progress max={1} value={share} aria-label={label} />;
}

export function Field(props: { label: string; hint?: string | undefined; children: ComponentChildren }) {
  return (
    <label class="field">
      <span>{props.label}</span>
      {props.children}
      {props.hint && <small>{props.hint}</small>}
    </label>
  );
}

export function Choice(props: {
  label: string;
  value: string;
  options: [string, string][];
  onChange: (value: string) => void;
}) {
  return (
    <Field label={props.label}>
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        {props.options.map(([value, name]) => (
          <option value={value}>{name}</option>
        ))}
      </select>
    </Field>
  );
}

/** The beginning of a text, with a mark where it was cut. */
export function excerpt(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit).trimEnd()} …`;
}

const SHOWN_CHARACTERS = 600;

/** A text of a sample: shown as text whatever is in it, right to left marks kept inside, long ones cut. */
export function SampleText({ text, pair, whole = false }: { text: string; pair?: string | null; whole?: boolean }) {
  const [open, setOpen] = useState(false);
  const limit = whole ? 20 * SHOWN_CHARACTERS : SHOWN_CHARACTERS;
  const long = text.length > limit;
  return (
    <div class="sample-text">
      <bdi dir="auto">{long && !open ? `${text.slice(0, limit)} …` : text}</bdi>
      {long && !open && (
        <button type="button" class="link" onClick={() => setOpen(true)}>
          {t("more")} ({number(text.length)})
        </button>
      )}
      {pair && <bdi class="pair" dir="auto">{pair.slice(0, limit)}</bdi>}
    </div>
  );
}
