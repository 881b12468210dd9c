//! The whole run: starts the measuring processes one after the other, gathers their figures and prints them.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cleanup::{self, Process};
use crate::memory::Pages;
use crate::stats::Figure;
use crate::{goals, hostile, inmemory, instructions, report, rig, tool};

/// The parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The pipeline in memory, next to rte_hash and plain memory access
    Memory,
    /// Instructions per packet, by callgrind
    Instructions,
    /// leat-dp over memif, next to dpdk-testpmd; its starts
    Memif,
    /// Of that, only throughput without loss and latency
    Latency,
    /// CPU time of a connection and a request through network namespaces, next to HAProxy, nginx and nftables
    Namespaces,
}

/// What the run is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Several times as many repetitions
    #[arg(long)]
    pub full: bool,
    /// Print figures as lines of JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Memory, Part::Instructions, Part::Memif, Part::Namespaces])]
    only: Vec<Part>,
    /// Use only huge pages that are reserved already. Otherwise what is missing is reserved for the time of the run, and given back
    #[arg(long)]
    no_reserve: bool,
    /// Measure on ordinary pages of 4 KiB, even where there are huge ones
    #[arg(long)]
    ordinary_pages: bool,
    /// Numbers of established flows
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 100_000, 1_000_000, 10_000_000])]
    flows: Vec<u32>,
}

impl Settings {
    /// The pages to measure on, if so many huge ones are wanted.
    pub fn pages(&self, wanted: u64) -> Pages {
        let huge = !self.ordinary_pages
            && if self.no_reserve { cleanup::free_pages() >= wanted } else { cleanup::reserve_pages(wanted) };
        if huge { Pages::Huge } else { Pages::Ordinary }
    }

    /// A program that was built with this one.
    pub fn program(&self, name: &str) -> PathBuf {
        std::env::current_exe().map(|path| path.with_file_name(name)).unwrap_or_else(|_| name.into())
    }
}

/// Figures as they come.
pub struct Report {
    json: bool,
    figures: Vec<Figure>,
}

impl Report {
    /// Takes a figure in.
    pub fn add(&mut self, figure: Figure) {
        if self.json {
            figure.print();
        }
        self.figures.push(figure);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.figures.len()
    }

    /// The cases of those that came after so many.
    pub fn from(&self, count: usize) -> impl Iterator<Item = &str> {
        self.figures.iter().skip(count).map(|figure| figure.case.as_str())
    }
}

/// Measures everything.
pub fn run(settings: &Settings) -> Result<()> {
    cleanup::start()?;
    let result = measure(settings);
    cleanup::finish();
    result
}

/// What a campaign is told.
#[derive(Debug, Clone, clap::Args)]
pub struct Campaign {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [hostile::Part::Soak, hostile::Part::Flood, hostile::Part::Guesses, hostile::Part::Pressure, hostile::Part::Generator])]
    only: Vec<hostile::Part>,
    /// Packets of soak and guesses
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    packets: u64,
    /// Seconds of the flood
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Print figures as lines of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs a campaign.
pub fn campaign(settings: &Campaign) -> Result<()> {
    cleanup::start()?;
    let machine = report::machine();
    eprintln!("{machine}");
    let mut report = Report { json: settings.json, figures: Vec::new() };
    let pages = if cleanup::reserve_pages(rig::PAGES) { Pages::Huge } else { Pages::Ordinary };
    let run = |part: &hostile::Part, report: &mut Report| {
        eprintln!("{part:?}, buffers on {}", pages.text());
        match part {
            hostile::Part::Generator => tool::run(pages, report),
            part => rig::hostile(*part, settings.packets, settings.seconds, pages, report),
        }
    };
    let result =
        cleanup::make_namespace().and_then(|()| settings.only.iter().try_for_each(|part| run(part, &mut report)));
    cleanup::finish();
    if !settings.json {
        let _ = writeln!(std::io::stdout(), "{machine}\n\n{}", report::table(&report.figures));
    }
    let _ = writeln!(std::io::stdout(), "leat campaign: {}", if result.is_ok() { "PASS" } else { "FAIL" });
    result
}

fn measure(settings: &Settings) -> Result<()> {
    let started = Instant::now();
    let machine = report::machine();
    eprintln!("{machine}");
    let mut report = Report { json: settings.json, figures: Vec::new() };
    let result = settings.only.iter().try_for_each(|part| match part {
        Part::Memory => in_memory(settings, &mut report),
        Part::Instructions => {
            eprintln!("instructions per packet (callgrind)");
            instructions::run(&mut report)
        }
        Part::Memif => {
            eprintln!("the appliance over memif");
            rig::run(settings, &mut report)
        }
        Part::Latency => {
            eprintln!("latency of the appliance over memif");
            rig::latency(settings, &mut report)
        }
        Part::Namespaces => namespaces(settings, &mut report),
    });
    // What was measured before something went wrong is worth showing, too.
    if !settings.json {
        let (table, goals) = (report::table(&report.figures), goals::table(&report.figures));
        let _ = writeln!(std::io::stdout(), "{machine}\n\n{table}\n{goals}");
    }
    eprintln!("{} in {:.0} s", if result.is_ok() { "done" } else { "failed" }, started.elapsed().as_secs_f64());
    result
}

fn in_memory(settings: &Settings, report: &mut Report) -> Result<()> {
    let largest = settings.flows.iter().copied().max().unwrap_or(1);
    let pages = settings.pages(inmemory::hash_mib(largest).div_ceil(2));
    eprintln!("the pipeline in memory, on {}", pages.text());
    let flows: Vec<String> = settings.flows.iter().map(u32::to_string).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("pipeline").arg("--pages").arg(pages.option()).arg("--flows").arg(flows.join(","));
    command.arg(format!("--file-prefix={}-memory", cleanup::name()));
    command.arg(format!("--scratch={}", cleanup::directory().join("sinks").display()));
    if settings.full {
        command.arg("--full");
    }
    if pages == Pages::Huge {
        // The allocator asks for transparent huge pages, on which the table's index then lies.
        command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
    }
    figures_of("pipeline", &mut command, Duration::from_secs(1800), report)
}

fn namespaces(settings: &Settings, report: &mut Report) -> Result<()> {
    eprintln!("connections and requests through network namespaces");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("namespaces").arg(format!("--file-prefix={}-relay", cleanup::name()));
    if settings.full {
        command.arg("--full");
    }
    figures_of("namespaces", &mut command, Duration::from_secs(1800), report)
}

/// Runs a process of this program to its end, passes its progress on and takes its figures in.
pub fn figures_of(what: &'static str, command: &mut Command, patience: Duration, report: &mut Report) -> Result<()> {
    gather(&mut Process::spawn(what, command)?, patience, report)
}

/// As [`figures_of`], for a process that runs already.
pub fn gather(process: &mut Process, patience: Duration, report: &mut Report) -> Result<()> {
    let what = process.what();
    let output = process.output().context("a process has no output")?;
    let (sender, lines) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let deadline = Instant::now() + patience;
    let mut shown = 0;
    let status = loop {
        let ended = process.ended()?;
        while let Ok(line) = lines.try_recv() {
            report.add(serde_json::from_str(&line).with_context(|| format!("{what} printed {line:?}"))?);
        }
        let log = process.log_from(shown);
        shown += log.len();
        // The rest is what EAL and valgrind say.
        log.lines().filter(|line| line.starts_with("  ")).for_each(|line| eprintln!("{line}"));
        if let Some(status) = ended {
            break status;
        }
        ensure!(Instant::now() < deadline, "{what} has not ended after {} s", patience.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = reader.join();
    for line in lines.try_iter() {
        report.add(serde_json::from_str(&line).with_context(|| format!("{what} printed {line:?}"))?);
    }
    ensure!(status.success(), "{what} failed ({status}):\n{}", process.last_words());
    Ok(())
}
