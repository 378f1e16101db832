// Two set versions side by side: who moved, and why.

import { useState } from "preact/hooks";
import { part, withQuery } from "../api";
import { type Dataset, type SetName, SETS, type SetVersion } from "../contract";
import { useAsked } from "../data";
import { Card, Choice, SetTag, Shown } from "../parts";
import { to } from "../route";
import { figure, number, t, time, told } from "../words";

interface Moves {
  from: number;
  to: number;
  counts: Record<SetName, Record<SetName, number>> | null;
  items: {
    id: string;
    from: { set: SetName; reason: string };
    to: { set: SetName; reason: string };
    importance: number | null;
    changed: boolean;
  }[];
}

const SHOWN = 100;

export function MovesCard({ dataset, versions }: { dataset: Dataset; versions: SetVersion[] }) {
  const [from, setFrom] = useState(versions[1]!.version);
  const [until, setUntil] = useState(versions[0]!.version);
  const [pair, setPair] = useState<[SetName, SetName] | null>(null);
  const path = withQuery(`/v1/datasets/${part(dataset.name)}/sets/diff`, {
    from,
    to: until,
    from_set: pair?.[0],
    to_set: pair?.[1],
    limit: SHOWN,
  });
  const asked = useAsked<Moves>(path);
  const options = versions.map((one): [string, string] => [
    String(one.version),
    `${t("version")} ${one.version} · ${one.policy} · ${time(one.created_at)}`,
  ]);
  return (
    <Card title={t("moves")} wide>
      <div class="filters">
        <Choice label={t("from_version")} value={String(from)} options={options} onChange={(v) => setFrom(Number(v))} />
        <Choice label={t("to_version")} value={String(until)} options={options} onChange={(v) => setUntil(Number(v))} />
      </div>
      <Shown {...asked}>
        {(moves) => (
          <>
            {moves.counts && <Matrix counts={moves.counts} pair={pair} onPair={setPair} />}
            {moves.items.length === 0 && <p class="quiet">{t("nobody_moved")}</p>}
            <div class="scrolls">
              <table class="rows">
                <tbody>
                  {moves.items.map((one) => (
                    <tr key={one.id}>
                      <td>
                        <a href={to("d", dataset.name, "s", one.id)}>
                          <bdi>{one.id}</bdi>
                        </a>
                      </td>
                      <td>
                        <SetTag set={one.from.set} /> {told("reason", one.from.reason)}
                      </td>
                      <td>
                        → <SetTag set={one.to.set} /> {told("reason", one.to.reason)} {one.changed && `(${t("content_changed")})`}
                      </td>
                      <td class="number">{figure(one.importance)}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </>
        )}
      </Shown>
    </Card>
  );
}

function Matrix(props: {
  counts: Record<SetName, Record<SetName, number>>;
  pair: [SetName, SetName] | null;
  onPair: (pair: [SetName, SetName] | null) => void;
}) {
  const { counts, pair } = props;
  const here = (from: SetName, until: SetName) => pair?.[0] === from && pair[1] === until;
  return (
    <table class="rows matrix">
      <thead>
        <tr>
          <th>{t("from_to")}</th>
          {SETS.map((set) => (
            <th>
              <SetTag set={set} />
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {SETS.map((from) => (
          <tr>
            <th scope="row">
              <SetTag set={from} />
            </th>
            {SETS.map((until) => (
              <td class="number">
                <button
                  type="button"
                  class="link"
                  aria-pressed={here(from, until)}
                  disabled={!counts[from]?.[until]}
                  onClick={() => props.onPair(here(from, until) ? null : [from, until])}
                >
                  {number(counts[from]?.[until] ?? 0)}
                </button>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
