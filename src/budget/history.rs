//! What earlier calls have used: corrects the estimates of later ones.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use smallvec::SmallVec;

use crate::sys::mutex::lock_within;

/// How many calls are remembered of each model.
const CALLS: usize = 64;
/// From so many calls on, their outputs tell what is typical.
const TYPICAL_FROM: usize = 20;
/// The most models, or pairs of model and feature.
const MOST: usize = 4_096;
/// The bounds of a correction.
const LEAST: f64 = 1.0;
const LARGEST: f64 = 4.0;
/// The first correction for a provider whose tokenizer is not ours.
const FOREIGN: f64 = 1.4;
const PATIENCE: Duration = Duration::from_millis(1);

/// The last values, in no order.
#[derive(Default)]
struct Ring<T> {
    values: SmallVec<[T; 8]>,
    next: usize,
}

impl<T> Ring<T> {
    fn push(&mut self, value: T) {
        if self.values.len() < CALLS {
            self.values.push(value);
        } else {
            self.values[self.next % CALLS] = value;
            self.next += 1;
        }
    }
}

#[derive(Default)]
struct Known {
    /// By provider and model: the actual input divided by the estimated one.
    inputs: HashMap<String, Ring<f32>>,
    /// By model and feature: the output.
    outputs: HashMap<String, Ring<u64>>,
    /// What settled calls were expected to cost at most, and what they cost: units of 10⁻²⁴ USD.
    sums: [i128; 2],
}

/// What earlier calls of this process have used.
#[derive(Default)]
pub struct History(Mutex<Known>);

fn name(first: &str, second: &str) -> String {
    format!("{first}\n{second}")
}

impl History {
    /// The factor for the estimated input of a model.
    #[must_use]
    pub fn correction(&self, provider: &str, model: &str) -> f64 {
        let first = if provider == "openai" { LEAST } else { FOREIGN };
        let Some(known) = lock_within(&self.0, PATIENCE) else { return first };
        let ratios = known.inputs.get(&name(provider, model)).filter(|ring| !ring.values.is_empty());
        ratios
            .map_or(first, |ring| ring.values.iter().fold(LEAST, |most, ratio| most.max((*ratio).into())).min(LARGEST))
    }

    /// The output that 95 of 100 calls of a model and feature stay below; `None` if too few are known.
    #[must_use]
    pub fn typical_output(&self, model: &str, feature: &str) -> Option<u64> {
        let known = lock_within(&self.0, PATIENCE)?;
        let ring = known.outputs.get(&name(model, feature)).filter(|ring| ring.values.len() >= TYPICAL_FROM)?;
        let mut sorted = ring.values.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * 95).div_ceil(100) - 1).copied()
    }

    /// Remembers a call: its estimated and actual input, if both are known, and its output.
    pub fn add(&self, (provider, model, feature): (&str, &str, &str), inputs: Option<(u64, u64)>, output: u64) {
        let Some(mut known) = lock_within(&self.0, PATIENCE) else { return };
        if known.inputs.len() + known.outputs.len() > 2 * MOST {
            (known.inputs, known.outputs) = Default::default();
        }
        if let Some((estimated, actual)) = inputs.filter(|(estimated, _)| *estimated > 0) {
            let ratio = actual as f64 / estimated as f64;
            known.inputs.entry(name(provider, model)).or_default().push(ratio as f32);
        }
        known.outputs.entry(name(model, feature)).or_default().push(output);
    }

    /// Adds to the sums of estimated and actual cost.
    pub fn sum(&self, estimated: i128, actual: i128) {
        if let Some(mut known) = lock_within(&self.0, PATIENCE) {
            known.sums = [known.sums[0].saturating_add(estimated), known.sums[1].saturating_add(actual)];
        }
    }

    /// The sums of estimated and actual cost.
    #[must_use]
    pub fn sums(&self) -> [i128; 2] {
        lock_within(&self.0, PATIENCE).map_or([0; 2], |known| known.sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_ratio_of_recent_calls_corrects_estimates() {
        let history = History::default();
        assert!(history.correction("openai", "m") < 1.01 && history.correction("anthropic", "m") > 1.39);
        history.add(("anthropic", "m", ""), Some((100, 150)), 1);
        history.add(("anthropic", "m", ""), Some((100, 50)), 1);
        assert!((history.correction("anthropic", "m") - 1.5).abs() < 1e-6);
        for _ in 0..CALLS {
            history.add(("anthropic", "m", ""), Some((100, 110)), 1);
        }
        assert!((history.correction("anthropic", "m") - 1.1).abs() < 1e-6, "old calls are forgotten");
        history.add(("anthropic", "m", ""), Some((1, 1_000)), 1);
        assert!((history.correction("anthropic", "m") - 4.0).abs() < 1e-6);
    }

    #[test]
    fn typical_outputs_are_known_after_some_calls() {
        let history = History::default();
        for output in 1..20 {
            history.add(("p", "m", "chat"), None, output);
        }
        assert_eq!(history.typical_output("m", "chat"), None);
        history.add(("p", "m", "chat"), None, 1_000);
        assert_eq!(history.typical_output("m", "chat"), Some(19));
        assert_eq!(history.typical_output("m", "other"), None);
    }
}
