//! The real binary from end to end, on the small model of the fixtures.
//!
//! Where each line of "Bad input gets a clear error, and nothing is lost" is tested (here through the binary: exit code,
//! the name of what is wrong, a remedy, no panic; in the named rooms in more detail):
//!
//! | bad input | through the binary | in its room |
//! |---|---|---|
//! | mistyped key, wrong type, out-of-range value, two adapters, resolution not a multiple of 64 | `refusals::experiments` | `plan::a_mistyped_key_gets_a_caret_and_a_suggestion`, `plan::every_problem_of_a_file_is_said_at_once_in_the_files_order`, `plan::ranges_end_where_they_say`, `plan::an_adapter_is_needed_and_only_one` |
//! | missing folder, empty folder | `refusals::pictures` | `data::dataset::missing_and_empty_folders_are_named`, `assets::folders::a_folder_that_is_not_there_is_named` |
//! | text file named .jpg, truncated JPEG, huge dimensions in a PNG header | `refusals::pictures` | `data::dataset::everything_wrong_is_in_one_error` |
//! | truncated or non-safetensors weights, header that claims more bytes than the file has, NaN in weights | `refusals::weights` | `assets::weights` |
//! | one file with another model, without all parts, damaged, pickled | `single_file::check_and_plan_know_what_it_is` | `assets::single_file` |
//! | parts that do not belong together, broken config.json, missing tokenizer | `refusals::model_folders` | `assets::folders` |
//! | LoRA file for another shape | `sampling::lora_files_that_do_not_fit_are_refused` | |
//! | unreachable hub, 401/404 from the hub | `hub::refusals_name_the_repository` | `assets::huggingface`, `assets::modelscope` |
//! | disk full while writing | `cut::a_full_disk_keeps_what_was_written` | `report::writing` |
//! | results folder not writable | `refusals::results_folders`, `sampling::folders_that_cannot_take_pictures_are_refused_first` | `report::run_dir` |
//! | prompt with path separators or emoji | `sampling::odd_prompts_stay_in_their_folder` | `report::names` |

mod class_images;
mod complete;
#[cfg(unix)]
mod cut;
mod families;
mod hub;
mod inputs;
#[cfg(unix)]
mod jobs;
mod metrics;
mod mini;
mod refusals;
mod resume;
mod sampling;
mod several;
#[cfg(unix)]
mod shapes;
mod sheet;
mod single_file;
#[cfg(unix)]
mod slurm;
mod sources;
mod stand_in;
mod steps;
mod tensorboard;
mod warnings;
#[cfg(unix)]
mod watch;
mod world;
