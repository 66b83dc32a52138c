//! The evaluator against KubeArmor itself: every operation that its own programs answered, and a
//! plain reading of the same rules on random policies.

mod attempt;
mod conformance;
mod line;
mod naive;
mod world;
