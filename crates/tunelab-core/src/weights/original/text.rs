//! The text encoders' tensors.
//!
//! In: names without what stands before them. Out: transformers' names. CLIP's own have them
//! already, but for a level that some merges leave out; `OpenCLIP` keeps queries, keys and values in
//! one matrix, and mostly its projection the other way round.

use super::{Projection, Renamed};

/// CLIP under transformers' names.
pub(super) fn clip(name: &str) -> Renamed {
    let lacks_level = ["embeddings.", "encoder.", "final_layer_norm."].iter().any(|start| name.starts_with(start));
    Renamed::As(if lacks_level { format!("text_model.{name}") } else { name.to_owned() })
}

/// Inside a layer of `OpenCLIP`'s.
pub(crate) const LAYER: [(&str, &str); 5] = [
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
    ("attn.out_proj.", "self_attn.out_proj."),
];

/// `OpenCLIP`'s.
pub(super) fn open_clip(name: &str, projection: Projection) -> Option<Renamed> {
    let whole = match name {
        "token_embedding.weight" => "text_model.embeddings.token_embedding.weight",
        "positional_embedding" => "text_model.embeddings.position_embedding.weight",
        "ln_final.weight" => "text_model.final_layer_norm.weight",
        "ln_final.bias" => "text_model.final_layer_norm.bias",
        "text_projection" | "text_projection.weight" if projection == Projection::None => {
            return Some(Renamed::Dropped);
        }
        "text_projection" if projection == Projection::Transposed => {
            return Some(Renamed::Transposed("text_projection.weight".to_owned()));
        }
        "text_projection" | "text_projection.weight" => "text_projection.weight",
        "logit_scale" | "attn_mask" => return Some(Renamed::Dropped),
        _ => "",
    };
    if !whole.is_empty() {
        return Some(Renamed::As(whole.to_owned()));
    }
    let (layer, rest) = name.strip_prefix("transformer.resblocks.")?.split_once('.')?;
    let layer = format!("text_model.encoder.layers.{}", layer.parse::<usize>().ok()?);
    if let Some(end @ ("weight" | "bias")) = rest.strip_prefix("attn.in_proj_") {
        return Some(Renamed::Thirds(["q", "k", "v"].map(|third| format!("{layer}.self_attn.{third}_proj.{end}"))));
    }
    let new = LAYER.iter().find_map(|(old, new)| Some(format!("{new}{}", rest.strip_prefix(old)?)))?;
    Some(Renamed::As(format!("{layer}.{new}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_a_merge_leaves_out_is_added() {
        let name = "text_model.final_layer_norm.bias";
        assert_eq!(clip(name), Renamed::As(name.to_owned()));
        assert_eq!(clip("final_layer_norm.bias"), Renamed::As(name.to_owned()));
        assert_eq!(clip("text_projection.weight"), Renamed::As("text_projection.weight".to_owned()));
    }

    #[test]
    fn names_of_open_clip() {
        let pairs = [
            ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
            ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
            ("ln_final.bias", "text_model.final_layer_norm.bias"),
            ("transformer.resblocks.3.ln_1.weight", "text_model.encoder.layers.3.layer_norm1.weight"),
            ("transformer.resblocks.22.mlp.c_proj.bias", "text_model.encoder.layers.22.mlp.fc2.bias"),
            ("transformer.resblocks.0.attn.out_proj.weight", "text_model.encoder.layers.0.self_attn.out_proj.weight"),
        ];
        for (old, new) in pairs {
            assert_eq!(open_clip(old, Projection::None), Some(Renamed::As(new.to_owned())), "{old}");
        }
        let third = |name: &str| format!("text_model.encoder.layers.7.self_attn.{name}_proj.bias");
        let thirds = Renamed::Thirds(["q", "k", "v"].map(third));
        assert_eq!(open_clip("transformer.resblocks.7.attn.in_proj_bias", Projection::Plain), Some(thirds));
        let name = || "text_projection.weight".to_owned();
        for (projection, new) in [
            (Projection::None, Renamed::Dropped),
            (Projection::Plain, Renamed::As(name())),
            (Projection::Transposed, Renamed::Transposed(name())),
        ] {
            assert_eq!(open_clip("text_projection", projection), Some(new));
        }
        assert_eq!(open_clip("text_projection.weight", Projection::Transposed), Some(Renamed::As(name())));
        assert_eq!(open_clip("logit_scale", Projection::Plain), Some(Renamed::Dropped));
        assert_eq!(open_clip("transformer.resblocks.7.other.weight", Projection::Plain), None);
    }
}
