use std::fmt;

use crate::results::Better;
use crate::stats::Verdict;

/// A sign by which tables and lists say something, and what it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sign {
    /// It is so.
    Yes,
    /// It is not.
    No,
    /// There is nothing to be said.
    Nothing,
    /// Better than what it is compared with.
    Better,
    /// Worse.
    Worse,
    /// Different, and neither side is better.
    Differs,
    /// Alike.
    Alike,
    /// More would tell.
    Undecided,
    /// Not to be believed as it is.
    Doubtful,
}

impl Sign {
    /// Of something that is so, is not, or of which nothing can be said.
    pub fn of(fact: Option<bool>) -> Self {
        match fact {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => Self::Nothing,
        }
    }

    /// Of a comparison in a metric of which that side is better.
    pub fn compared(verdict: Verdict, better: Better) -> Self {
        match (verdict, better) {
            (Verdict::Alike, _) => Self::Alike,
            (Verdict::Undecided, _) => Self::Undecided,
            (_, Better::Neutral) => Self::Differs,
            (Verdict::Larger, Better::Higher) | (Verdict::Smaller, Better::Lower) => Self::Better,
            (Verdict::Larger, Better::Lower) | (Verdict::Smaller, Better::Higher) => Self::Worse,
        }
    }

    /// What it looks like.
    pub fn text(self) -> &'static str {
        match self {
            Self::Yes => "✓",
            Self::No => "✗",
            Self::Nothing => "–",
            Self::Better => "▲",
            Self::Worse => "▼",
            Self::Differs => "≠",
            Self::Alike => "≈",
            Self::Undecided => "?",
            Self::Doubtful => "!",
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.text())
    }
}
