//! tunelab: a declarative lab for fine-tuning Stable Diffusion. One TOML file is one experiment.
//!
//! The crate exists to *compare* ways of fine-tuning. So everything that is not under study is the same code, the same
//! noise and the same pictures' seeds, and a result is a folder of plain files that say how they came about. It is a
//! library and a thin program, [`cli`], around it.
//!
//! # The straight line
//!
//! A run is a line of values. Each stage takes the one before it and never asks back:
//!
//! ```text
//! text ─► Experiment ─► Plan ─► RunInputs ─► Trainer ─► files
//! ```
//!
//! | value | what it is | made by |
//! |---|---|---|
//! | [`config::experiment::Experiment`] | what a person wrote, every value with its line | TOML and `--set` |
//! | [`config::Plan`] | what will be done: no option left open, every problem found | [`config::Plan::load`] |
//! | `RunInputs` | files found, checked and hashed; networks; latents and conditioning | `run::prepare` |
//! | [`train::trainer::Trainer`] | the state between two steps; each call of `step` is one optimizer step | [`run`] |
//! | files | plan, logs, weights, pictures, record; then curve, grid and table from these | [`results`], [`report`] |
//!
//! A file may state two plans for one experiment: its own, and a *stand-in* on the model and pictures that are compiled in
//! ([`builtin`]), which is run where no hub can be reached. `run::several` chooses once, before the line begins; from then on
//! a stand-in is a plan like any other, that knows what it stands in for and says so in all that it leaves.
//!
//! [`run`] holds this line, and with it the order of all events, on two screens: read it first.
//!
//! # Rooms
//!
//! In order of dependence: a room may use those above it, never one below (a test holds this). Those from [`error`] to
//! [`measure`], which report nothing and start nothing, lie in a crate of their own, [`tunelab_core`]: what is edited below them
//! is built in seconds. They have the same names here.
//!
//! | room | what it does |
//! |---|---|
//! | [`error`] | the one error type: message, causes, hint, exit code |
//! | [`numbers`] | numbers as people read them: digits in groups, plurals, bytes, durations |
//! | [`lock`] | a file that one process alone writes to, and one that says who has something where there are no locks |
//! | [`interrupt`] | Ctrl-C and signals as a value that a loop asks between two steps |
//! | [`progress`] | one bar for a run, plain lines where there is no terminal; stderr only; how long the rest takes |
//! | [`hash`] | SHA-256 of bytes, of files and of lists of texts |
//! | [`random`] | named, seeded streams of torch's numbers: the only source of randomness |
//! | [`diffusion`] | noise schedule, training targets, samplers: pure numbers |
//! | [`metrics`] | subject and prompt fidelity as formulas: pure numbers |
//! | [`cli`] | the command line, and how wide a terminal is; `completions` and `man` |
//! | [`builtin`] | the miniature model, its pictures, the judge of what it draws, and what models in one file lack, compiled in |
//! | [`weights`] | safetensors files: every claim of a header checked, tensors read and written; models in one file ([`weights::original`]) |
//! | [`model`] | the networks: tokenizer, text encoder, VAE, UNet, LoRA layers, under diffusers' tensor names; each describes itself ([`model::describe`]) |
//! | [`config`] | what a person writes: TOML and `--set`, every key stated once, plans and their comparison; `init`, `keys` and `schema` |
//! | [`data`] | photograph → tensor, captions, order of an epoch, the cache |
//! | [`pipeline`] | which family a model is, and its files as one [`pipeline::Pipeline`]; texts as [`pipeline::Conditioning`] |
//! | [`assets`] | models and data sets found, fetched or unpacked, checked |
//! | [`results`] | layout of a run's folder and the only writer of files in it |
//! | [`device`] | which device computes, in what types, its memory, and how busy it is |
//! | [`adapter`] | the ways to fine-tune, a file a method: what is trained, its count, its names in files, saving, loading |
//! | [`train`] | examples, objective, optimizers, trainer, checkpoints, evaluation loss |
//! | [`measure`] | images → subject and prompt fidelity, by encoders; `measure` |
//! | [`report`] | curve, grid, table, sweeps, page: pure functions of the results tree; `table`, `diff`, `plot` and `report` |
//! | [`plan`] | what a plan trains and needs: counts, memory, files, time; `check` and `plan` |
//! | [`sample`] | prompt and seed → picture; `sample` |
//! | [`run`] | the recipe; `run`, several at once too |
//! | [`sheet`] | what the network will see of a data set, as a sheet and a page; `data` |
//! | [`slurm`] | runs handed to a cluster's Slurm, and how far each is; `submit` and `status` |
//! | [`serve`] | the page of the results tree, over HTTP, with the runs under way; `serve` |
//! | [`bench`] | the same work on random weights, timed; `bench` |
//!
//! What is differentiated, and every kernel, is a crate of its own, [`tunelab_ops`]: the operations, the tape that their
//! backward passes are noted on, the memory that they reuse, and on a GPU the launches. Nothing in it knows of this crate.
//!
//! # Rules
//!
//! 1. **Variation is an enum.** [`config::Adapter`], [`diffusion::Sampler`], [`config::Source`]: the compiler lists every place
//!    that a new case has to think about. Traits of our own are few: what a key's value, its statement and settings
//!    with keys are ([`config::keys`]), what a figure is drawn on, and in [`tunelab_ops`] which vector instructions there are and what a
//!    convolution's weight consists of, f32 or bf16.
//! 2. **One loop.** `while let Some(row) = trainer.step()? { … }` in [`run`] owns the order of events. There are no
//!    callbacks, hooks or observers; the whole program's are only memory ([`tunelab_ops::memory`]), what the processor has, and whether
//!    an interrupt came.
//! 3. **Results are data.** Logs and records are written as things happen; pictures and tables are computed from them and
//!    can be made again at any time. What a rerun must repeat (`loss.csv`, `eval.csv`) and what it cannot (`timing.csv`) are
//!    different files. `progress.json` says how far a run is, and is gone when it has come to its end.
//! 4. **Randomness has names.** [`random::Generator::stream`] is a function of the experiment's seed, a name ("noise", "data
//!    order", …) and a number. What one part draws never moves another's numbers, and a resumed run needs no saved state.
//! 5. **No result depends on threads.** Work is split by output elements and every sum has a fixed order; nothing that is
//!    compared holds a clock, a hash map's order or a number of threads.
//! 6. **Wrong input is told all at once,** with the place, the reason and the remedy, before anything is computed.
//!    Only safetensors weights are opened, and every claim of a header is checked against the file.
//! 7. **One tape.** candle computes; what is differentiated is noted by [`tunelab_ops::tape`] while a step's forward pass runs, and by
//!    nothing else. Outside of a recording nothing is kept, so sampling and evaluation need no second kind of network, and an
//!    operation that the tape would not see is an error.
//! 8. **Bans are mechanical.** `clippy.toml` forbids candle's operations without a (correct) backward and `std::fs`;
//!    code without the compiler's checks is forbidden here and in [`tunelab_core`] and is in [`tunelab_ops`] alone, where vector
//!    instructions, large blocks of memory and a GPU's kernels and libraries are called, and loops of values
//!    run without checks.
//!
//! # Where to add what
//!
//! `CONTRIBUTING.md` says which files a key, a sampler, an optimizer, an adapter, a family of models, a metric or an operation
//! touches, and which words to use.
//!
//! # Where exactness is shown
//!
//! The tests compare with numbers that PyTorch, diffusers, transformers, PEFT and Pillow computed on small random models
//! (`tests/fixtures`, with the script and the pinned versions that made them; running the tests needs neither Python nor a
//! network). `examples/gpu_check` asks the same of a GPU, where the tests do not run. No fixture stands at a neutral value:
//! norm weights are not 1, alpha is not the rank, B is not 0, pictures are not square, and the timesteps of a batch differ,
//! for each of these would hide an error. The README has the table of what is compared with what, and how closely.
//!
//! # What is deliberately not done
//!
//! - **No pickle.** Opening a `.ckpt` or `.bin` can run any code.
//! - **No plugin interface, no configuration of code by names.** A new method is a new case of an enum.
//! - **No half precision** of trained weights, the norms' sums, losses and moments: `dtype = "bf16"` is for what is frozen and for
//!   what enters products, and on a GPU for all that goes through the network.
//! - **No safety checker** and no service: the program draws what it is told, on the machine it runs on. [`serve`] shows what is
//!   there and takes no orders.
//! - **No silent repair.** A file that is not what it says, a key that nobody knows, a prompt that is cut: error or warning.
//!   (Unpacked copies of what is compiled in are the exception.)
//! - **No silent stand-in.** Only a hub that does not answer is answered by one, never a refusal or a mistake.
//! - **No overwriting.** What was trained stays; `--force` is the only way to start over. Pictures alone are drawn again
//!   where only what `[eval]` says of them has changed.
//!
//! [`bench`]: mod@bench

#![forbid(unsafe_code)]

pub use tunelab_core::{
    adapter, assets, builtin, cli, config, data, device, diffusion, error, hash, interrupt, lock, measure, metrics,
    model, numbers, pipeline, progress, random, results, train, weights,
};

pub mod bench;
pub mod plan;
pub mod report;
pub mod run;
pub mod sample;
pub mod serve;
pub mod sheet;
pub mod slurm;
