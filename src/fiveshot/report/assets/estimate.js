// How much of a list is right, from the answers to a stratified sample (see sample.py).
"use strict";

// Events at or above a confidence and the answers to those of them that were drawn → estimate and interval.
// Each event: {conf, stratum, answer}, answer true, false or null. Without an answer the result is null.
function precisionOf(events) {
  const strata = new Map();
  for (const { stratum, answer } of events) {
    const one = strata.get(stratum) || { size: 0, marked: 0, right: 0 };
    one.size += 1;
    if (answer !== null) { one.marked += 1; one.right += answer ? 1 : 0; }
    strata.set(stratum, one);
  }
  const all = [...strata.values()];
  const marked = all.reduce((sum, one) => sum + one.marked, 0);
  if (!marked) return null;
  const pooled = all.reduce((sum, one) => sum + one.right, 0) / marked;
  const smooth = (pooled * marked + 1) / (marked + 2);
  let estimate = 0, variance = 0, typical = 0;
  for (const one of all) {
    const weight = one.size / events.length;
    // A stratum without answers is taken to be as the others, and as uncertain as one answer is.
    const value = one.marked ? one.right / one.marked : pooled;
    const cautious = (one.right + smooth) / (one.marked + 1);
    const left = one.marked < one.size ? 1 - one.marked / one.size : 0;
    estimate += weight * value;
    typical += weight * cautious;
    variance += weight * weight * cautious * (1 - cautious) / Math.max(one.marked, 1) * left;
  }
  const complete = all.every((one) => one.marked > 0);
  if (variance === 0) return { estimate, low: estimate, high: estimate, marked, complete };
  const [low, high] = wilson(estimate, typical * (1 - typical) / variance);
  return { estimate, low, high, marked, complete };
}

// Wilson's 95 % interval of a share p seen in n independent trials.
function wilson(p, n) {
  const z = 1.959964, square = z * z / n;
  const centre = (p + square / 2) / (1 + square);
  const half = z / (1 + square) * Math.sqrt(p * (1 - p) / n + square / (4 * n));
  return [Math.max(centre - half, 0), Math.min(centre + half, 1)];
}

// The lowest confidence from which on the list is right often enough; null where no list is.
function thresholdFor(events, wanted) {
  const levels = [...new Set(events.filter((e) => e.answer !== null).map((e) => e.conf))].sort((a, b) => a - b);
  const lowest = events.reduce((least, e) => Math.min(least, e.conf), 1);
  for (const level of [lowest, ...levels]) {
    const result = precisionOf(events.filter((e) => e.conf >= level));
    if (result && result.estimate >= wanted) return { level, ...result };
  }
  return null;
}
