// What a page shows comes from the service: asked for when the page opens, and again when it is told to.

import { useCallback, useEffect, useState } from "preact/hooks";
import { get, Problem } from "./api";

export interface Asked<T> {
  data: T | null;
  problem: Problem | null;
  again: () => void;
}

export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, "page_error", String(error), "");
}

/** The answer of `path`, also of the path before while the next is on its way; nothing is asked for by null. */
export function useAsked<T>(path: string | null, everySeconds = 0): Asked<T> {
  const [data, setData] = useState<T | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [count, setCount] = useState(0);
  const again = useCallback(() => setCount((before) => before + 1), []);
  useEffect(() => {
    if (path === null) return;
    const leaving = new AbortController();
    get<T>(path, leaving.signal).then(
      (found) => {
        setData(found);
        setProblem(null);
      },
      (error) => {
        if (!leaving.signal.aborted) setProblem(asProblem(error));
      },
    );
    return () => leaving.abort();
  }, [path, count]);
  useEffect(() => {
    if (everySeconds === 0) return;
    const timer = setInterval(() => document.hidden || again(), everySeconds * 1000);
    return () => clearInterval(timer);
  }, [everySeconds, again]);
  return { data, problem, again };
}
