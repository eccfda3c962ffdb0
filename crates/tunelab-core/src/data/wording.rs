//! The words that a picture is trained with.
//!
//! In: its captions as they were found, and the rules of `[dataset.captions]`. Out: the text that stands where nothing is drawn, all
//! texts where they can be counted, and a text drawn for one step. What is drawn comes from the stream that is given, so it depends
//! on the seed, the picture and the step alone.

use std::sync::Arc;

use crate::config::CaptionRules;
use crate::random::Generator;

/// What parts tags in a caption.
const COMMA: char = ',';

/// A picture's captions, at least one, and what is made of them.
#[derive(Debug, Clone)]
pub struct Wordings {
    captions: Vec<String>,
    rules: Arc<CaptionRules>,
}

impl Wordings {
    /// Of captions as they were found.
    pub(super) fn new(captions: &[String], rules: &Arc<CaptionRules>) -> Self {
        Self {
            captions: captions.iter().map(|caption| rules.with_trigger(caption)).collect(),
            rules: Arc::clone(rules),
        }
    }

    /// This text and nothing else.
    pub fn of(text: &str) -> Self {
        Self::new(&[text.to_owned()], &Arc::new(CaptionRules::default()))
    }

    /// What stands where nothing is drawn: the first caption with all its tags.
    pub fn first(&self) -> String {
        self.captions.first().map_or_else(String::new, |caption| self.whole(caption))
    }

    /// Every caption with all its tags, each once. These are all that [`Self::draw`] can give, unless tags are drawn.
    pub fn all(&self) -> Vec<String> {
        let mut texts: Vec<String> = Vec::with_capacity(self.captions.len());
        for text in self.captions.iter().map(|caption| self.whole(caption)) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    }

    /// Are tags shuffled or dropped, so that there is no telling all texts?
    pub fn draws_tags(&self) -> bool {
        self.rules.draws_tags()
    }

    /// One caption, its tags in the order and with the gaps that are drawn. Where nothing is to be drawn the stream is not asked for.
    pub fn draw(&self, stream: impl FnOnce() -> Generator) -> String {
        if self.captions.len() < 2 && !self.draws_tags() {
            return self.first();
        }
        let mut stream = stream();
        let index = if self.captions.len() < 2 { 0 } else { stream.randint(self.captions.len() as u64, 1)[0] as usize };
        let Some(caption) = self.captions.get(index) else { return String::new() };
        if !self.draws_tags() {
            return self.whole(caption);
        }
        let tags: Vec<&str> = caption.split(COMMA).map(str::trim).filter(|tag| !tag.is_empty()).collect();
        let (kept, others) = tags.split_at(self.rules.keep_tags.min(tags.len()));
        let order = if self.rules.shuffle_tags { stream.randperm(others.len()) } else { (0..others.len()).collect() };
        let dropped = stream.rand(others.len());
        let left = order.iter().zip(dropped).filter(|(_, x)| f64::from(*x) >= self.rules.tag_dropout);
        let left = left.filter_map(|(&i, _)| others.get(i).copied());
        self.whole(&kept.iter().copied().chain(left).collect::<Vec<_>>().join(", "))
    }

    /// Between prefix and suffix.
    fn whole(&self, caption: &str) -> String {
        let CaptionRules { prefix, suffix, .. } = &*self.rules;
        let parts = [prefix.trim(), caption, suffix.trim()];
        if parts[0].is_empty() && parts[2].is_empty() {
            return caption.to_owned();
        }
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wordings(captions: &[&str], rules: CaptionRules) -> Wordings {
        Wordings::new(&captions.iter().map(ToString::to_string).collect::<Vec<_>>(), &Arc::new(rules))
    }

    fn drawn(of: &Wordings, n: u64) -> Vec<String> {
        (0..n).map(|i| of.draw(|| Generator::stream(7, "tags", i))).collect()
    }

    #[test]
    fn one_caption_is_itself_and_draws_nothing() {
        let one = wordings(&["a dog, in snow"], CaptionRules::default());
        assert_eq!(one.draw(|| unreachable!()), "a dog, in snow");
        assert_eq!((one.first().as_str(), one.all()), ("a dog, in snow", vec!["a dog, in snow".to_owned()]));
    }

    #[test]
    fn prefix_suffix_and_trigger() {
        let rules = CaptionRules {
            prefix: "photo of".into(),
            suffix: ", sharp".into(),
            trigger: Some("ohwx".into()),
            ..CaptionRules::default()
        };
        assert_eq!(
            wordings(&["[trigger] dog and [trigger]"], rules.clone()).first(),
            "photo of ohwx dog and ohwx , sharp"
        );
        assert_eq!(wordings(&[""], rules).first(), "photo of , sharp");
    }

    #[test]
    fn of_several_captions_each_comes_in_its_turn() {
        let three = wordings(&["a", "b", "c", "a"], CaptionRules::default());
        assert_eq!(three.all(), ["a", "b", "c"]);
        let seen = drawn(&three, 400);
        let count = |text: &str| seen.iter().filter(|s| *s == text).count();
        assert_eq!(seen, drawn(&three, 400), "the same streams give the same");
        assert!((150..250).contains(&count("a")), "it is there twice: {}", count("a"));
        assert!((60..140).contains(&count("b")) && (60..140).contains(&count("c")));
    }

    #[test]
    fn shuffled_tags_are_all_there_and_the_first_stay() {
        let rules = CaptionRules { shuffle_tags: true, keep_tags: 2, prefix: "x".into(), ..CaptionRules::default() };
        let of = wordings(&["dog,  grass ,a, b, c,, 🐕"], rules);
        let seen = drawn(&of, 50);
        for text in &seen {
            let tags: Vec<&str> = text.split(", ").collect();
            assert_eq!(tags[..2], ["x dog", "grass"]);
            let mut rest = tags[2..].to_vec();
            rest.sort_unstable();
            assert_eq!(rest, ["a", "b", "c", "🐕"]);
        }
        assert!(seen.iter().collect::<std::collections::BTreeSet<_>>().len() > 10);
        assert_eq!(of.first(), "x dog,  grass ,a, b, c,, 🐕", "where nothing is drawn it is as it was written");
    }

    #[test]
    fn of_500_tags_a_share_is_dropped_in_their_order() {
        let tags: Vec<String> = (0..500).map(|i| format!("tag{i:03}")).collect();
        let rules = CaptionRules { tag_dropout: 0.3, keep_tags: 1, ..CaptionRules::default() };
        let of = wordings(&[&tags.join(",")], rules);
        let text = of.draw(|| Generator::stream(1, "tags", 0));
        let left: Vec<&str> = text.split(", ").collect();
        assert!((310..390).contains(&left.len()), "{}", left.len());
        assert!(left.is_sorted() && left[0] == "tag000");
        let all = wordings(&["a, b"], CaptionRules { tag_dropout: 0.999_999, ..CaptionRules::default() });
        assert_eq!(all.draw(|| Generator::stream(1, "tags", 0)), "", "nothing may be left");
    }
}
