//! An answer, as it is shown.

/// An answer.
#[derive(Default)]
pub(crate) struct Card {
    /// In addresses.
    pub(crate) id: String,
    /// The question.
    pub(crate) title: String,
    /// What is meant by it; may be empty.
    pub(crate) wants: String,
    /// The answer in a sentence.
    pub(crate) verdict: String,
    /// Who stands where, tier by tier.
    pub(crate) tiers: Vec<Vec<Ranked>>,
    /// How sure it is.
    pub(crate) sure: String,
    /// Who has no place, and why; and what was not measured.
    pub(crate) unranked: Vec<String>,
    /// Whether it tells of each where it gets through.
    pub(crate) reach: bool,
    /// The same networks in the table, as an address; may be empty.
    pub(crate) into: String,
}

/// A VPN in an answer.
#[derive(Clone)]
pub(crate) struct Ranked {
    /// Its name.
    pub(crate) title: String,
    /// Its page.
    pub(crate) href: String,
    /// The ranks that it may have.
    pub(crate) ranks: String,
    /// How many times as bad as the wire it counts.
    pub(crate) score: String,
    /// The interval of that.
    pub(crate) interval: String,
    /// The same where it works.
    pub(crate) works: String,
    /// Cells with figures, of all.
    pub(crate) whole: String,
    /// Whether those are not all.
    pub(crate) part: bool,
    /// Where it gets through; may be empty.
    pub(crate) reach: String,
}
