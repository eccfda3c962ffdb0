//! LoRA files, written and read in every spelling.

mod lora_file;
mod lora_spellings;
