//! The page of a data set: one file of HTML that needs nothing else.
//!
//! In: the sheet. Out: what stands out, then every image as it is cropped with its caption, by bucket. Names and captions are
//! escaped by the template; images are in the file.

use super::Sheet;
use super::look::Look;
use crate::error::Result;
use crate::results::png_bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Nothing may be fetched: the images are in the file.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("../../assets/page/data.css");

/// The whole file.
pub(super) fn html(sheet: &Sheet) -> Result<String> {
    let mut sizes: Vec<_> = sheet.images.iter().map(|image| image.cut.map(|cut| cut.size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut groups = Vec::new();
    for size in sizes {
        let images = sheet.images.iter().filter(|image| image.cut.map(|cut| cut.size) == size);
        let title = size.map_or_else(|| "not cut".to_owned(), |[height, width]| format!("{width} × {height}"));
        groups.push((title, cards(images)?));
    }
    if !sheet.class.is_empty() {
        groups.push(("class images".to_owned(), cards(sheet.class.iter())?));
    }
    let buckets = sheet.shapes.has_buckets();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (sheet.name) ": data" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (sheet.name) }
                    p.summary { (sheet.summary()) ", as the network will see them: resized, cropped to the middle" @if buckets { ", in buckets" } "." }
                    @for warning in &sheet.warnings { p.banner { (warning) } }
                    section {
                        h2 { "Sizes" }
                        ul { @for line in sheet.buckets() { li { (line) } } }
                    }
                    @for (title, items) in sheet.findings() {
                        section {
                            h2 { (title) }
                            ul { @for item in items { li { (item) } } }
                        }
                    }
                    @for (title, cards) in &groups {
                        section {
                            h2 { (title) " (" (cards.len()) ")" }
                            div.cards { @for card in cards { (card) } }
                        }
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn cards<'a>(images: impl Iterator<Item = &'a Look>) -> Result<Vec<Markup>> {
    images.map(card).collect()
}

fn card(image: &Look) -> Result<Markup> {
    let link = format!("data:image/png;base64,{}", STANDARD.encode(png_bytes(&image.thumbnail)?));
    let [height, width] = image.original;
    let lost = image.cut.map_or(0.0, |cut| 100.0 * cut.lost());
    let alt = image.captions.first().map_or("", |caption| &caption.text);
    Ok(html! {
        figure {
            img src=(link) alt=(alt) width=(image.thumbnail.width) height=(image.thumbnail.height) loading="lazy";
            figcaption {
                strong { (image.name) }
                small {
                    (width) " × " (height) ", cut " (format!("{lost:.0}")) " %"
                    @if image.is_enlarged() { ", " span.warn { "enlarged" } }
                    @if image.is_masked { ", masked" }
                    ", " (image.tokens()) " tokens"
                }
                @for caption in &image.captions {
                    @let (kept, cut) = caption.parts();
                    span { (kept) @if !cut.is_empty() { del { (cut) } } }
                }
            }
        }
    })
}
