// Lines over epochs, versions or steps, drawn by uPlot.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { figure } from "../words";

export interface Line {
  name: string;
  values: (number | null)[];
  /** Name of a colour of the style sheet. */
  colour: string;
}

const HEIGHT = 150;

/** A value under the pointer; nothing where there is no pointer. */
const shown = (_: uPlot, value: number | null) => (value === null ? "" : figure(value));

export function Lines(props: { x: number[]; xName: string; lines: Line[]; said: string }) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = place.current!;
    const style = getComputedStyle(element);
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line") }, ticks: { stroke: colour("line") } };
    const chart = new uPlot(
      {
        width: element.clientWidth || 300,
        height: HEIGHT,
        scales: { x: { time: false } },
        series: [
          { label: props.xName, value: shown },
          ...props.lines.map((line) => ({
            label: line.name,
            value: shown,
            stroke: colour(line.colour),
            width: 2,
            points: { show: props.x.length < 40 },
          })),
        ],
        // Epochs, steps and versions are whole numbers.
        axes: [{ ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000] }, axis],
      },
      [props.x, ...props.lines.map((line) => line.values)],
      element,
    );
    const watching = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: HEIGHT }));
    watching.observe(element);
    return () => {
      watching.disconnect();
      chart.destroy();
    };
  }, [props.x, props.lines]);
  return <div class="lines" ref={place} role="img" aria-label={props.said} />;
}
