//! How often each answer was given where each was right: shares and confusion tables.
//!
//! In: answers to the judge's questions, right and given, in pairs. Out: the share of right ones for each question, and
//! Markdown.

use std::fmt::Write;

use tunelab::measure::judge::{ANSWERS, QUESTIONS};

/// Counts for the first so many of the judge's questions.
pub struct Tally {
    /// By question, right answer and given answer.
    counts: Vec<Vec<Vec<usize>>>,
}

impl Tally {
    /// Nothing counted yet, about the first `questions` questions.
    pub fn new(questions: usize) -> Self {
        let square = |answers: &&[&str]| vec![vec![0; answers.len()]; answers.len()];
        Self { counts: ANSWERS.iter().take(questions).map(square).collect() }
    }

    /// Counts the answers about one picture.
    pub fn add(&mut self, right: &[usize], given: &[usize]) {
        for (question, (&right, &given)) in self.counts.iter_mut().zip(right.iter().zip(given)) {
            question[right][given] += 1;
        }
    }

    /// The share of right answers to a question; nothing if it was never asked.
    pub fn share(&self, question: usize) -> Option<f64> {
        let counts = self.counts.get(question)?;
        let all: usize = counts.iter().flatten().sum();
        let right: usize = (0..counts.len()).map(|i| counts[i][i]).sum();
        (all > 0).then(|| right as f64 / all as f64)
    }

    /// One line for each question.
    pub fn summary(&self) -> String {
        let mut text = String::from("| question | right |\n| --- | ---: |\n");
        for (question, name) in QUESTIONS.iter().enumerate().take(self.counts.len()) {
            let share = self.share(question).map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
            // Writing into a text does not fail.
            let _ = writeln!(text, "| {name} | {share} |");
        }
        text
    }

    /// A table for each question: a row for each right answer, a column for each given one. Answers that nobody gave and
    /// that were never right are left out.
    pub fn confusion(&self) -> String {
        let mut text = String::new();
        for ((counts, names), question) in self.counts.iter().zip(ANSWERS).zip(QUESTIONS) {
            let seen = |i: &usize| counts[*i].iter().any(|&n| n > 0) || counts.iter().any(|row| row[*i] > 0);
            let columns: Vec<usize> = (0..names.len()).filter(seen).collect();
            let heads: Vec<&str> = columns.iter().map(|&i| names[i]).collect();
            let _ = writeln!(text, "\n| {question} | {} |", heads.join(" | "));
            let _ = writeln!(text, "| --- |{}", " ---: |".repeat(columns.len()));
            for (row, name) in counts.iter().zip(names).filter(|(row, _)| row.iter().any(|&n| n > 0)) {
                let cells: Vec<String> = columns.iter().map(|&i| cell(row[i])).collect();
                let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
            }
        }
        text
    }
}

/// Zeros would hide the errors among them.
fn cell(count: usize) -> String {
    if count == 0 { String::new() } else { count.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_tables_come_from_the_counts() {
        let mut tally = Tally::new(2);
        tally.add(&[0, 4], &[0, 10]);
        tally.add(&[0, 4], &[3, 4]);
        tally.add(&[1, 0], &[1, 0]);
        assert_eq!(tally.share(0), Some(2.0 / 3.0));
        assert_eq!(tally.share(1), Some(2.0 / 3.0));
        assert_eq!(tally.share(2), None);
        let dogs =
            "| animal | dog | cat | fox |\n| --- | ---: | ---: | ---: |\n| dog | 1 |  | 1 |\n| cat |  | 1 |  |\n";
        let text = tally.confusion();
        assert!(text.contains(dogs), "{text}");
        assert!(text.contains("| orange |  | 1 | 1 |\n"), "{text}");
        assert!(tally.summary().contains("| coat | 66.7 % |"));
    }
}
