//! The tables: medians over the rounds, and what they are compared with. A ratio is that of one
//! round, whose measurements lie seconds apart; the table has the median of those.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use crate::{
    measure::{Sample, Used},
    plan::Test,
    statistics::{Percentiles, fixed, median, per_thousand, ratio_hundredths},
    subject::{BARE, BILLING, DIRECT, GATEWAY, NGINX, nginx},
};

const HEAD: &str = "\
| | CPU s per 1,000 | lowest to highest | ÷ bare | ÷ nginx | per second | p50 ms | p99 ms \
| added p50 ms | added p99 ms | added first byte p50 ms | MiB now | MiB peak |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";

/// Medians over the rounds of one test. A figure that nothing was measured for is absent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    /// CPU time for each 1,000 requests, in microseconds, by round.
    cpu_us: BTreeMap<u32, i64>,
    per_second: Option<i64>,
    p50_us: Option<i64>,
    p99_us: Option<i64>,
    first_byte_p50_us: Option<i64>,
    resident_kib: Option<i64>,
    peak_kib: Option<i64>,
    errors: u64,
    unsettled: usize,
}

/// The table of one test as Markdown.
pub(crate) fn table(test: &Test, samples: &[Sample]) -> Result<String, fmt::Error> {
    let of = |subject: &str| -> Vec<&Sample> {
        let matching = |s: &&Sample| s.test == test.name && s.subject == subject;
        samples.iter().filter(matching).collect()
    };
    let rows = [DIRECT, BARE, NGINX, GATEWAY].map(|name| (name, of(name)));
    let rows = rows.map(|(name, samples)| (name, served(&samples, name), samples.len()));
    let mut page = format!("### {}\n\n{HEAD}", test.title);
    let [(_, direct, _), (_, bare, _), (_, nginx, _), _] = &rows;
    let compared = Compared { direct, bare, nginx };
    for (name, row, rounds) in &rows {
        match (*name, rounds) {
            (NGINX, 0) => writeln!(page, "| {NGINX} | {} |", nginx::REMEDY)?,
            (_, 0) => writeln!(page, "| {name} | not measured |")?,
            _ => line(&mut page, name, row, &compared)?,
        }
    }
    let billing = beside(&of(GATEWAY), BILLING);
    if !billing.cpu_us.is_empty() {
        line(&mut page, BILLING, &billing, &compared)?;
    }
    if let Some(aim) = test.aim_hundredths {
        let aim = fixed(aim, 2, 1);
        writeln!(page, "\nAim: {GATEWAY} at most {aim} × the CPU of the {BARE}.")?;
    }
    for (name, row, _) in &rows {
        if row.errors > 0 {
            writeln!(page, "\n{name}: {} requests failed; its figures are void.", row.errors)?;
        }
        if row.unsettled > 0 {
            let times = row.unsettled;
            writeln!(
                page,
                "\n{name}: still busy at the end of {times} measurements; its CPU is \
                            more than the figure says."
            )?;
        }
    }
    Ok(page)
}

/// What a line is compared with.
struct Compared<'a> {
    direct: &'a Row,
    bare: &'a Row,
    nginx: &'a Row,
}

fn line(text: &mut String, name: &str, row: &Row, compared: &Compared<'_>) -> fmt::Result {
    let direct = compared.direct;
    let seconds = |us: i64| fixed(us, 6, 4);
    let millis = |us: Option<i64>| cell(us.map(|us| fixed(us, 3, 3)));
    let added = |us: Option<i64>, base: Option<i64>| millis(us.zip(base).map(|(a, b)| a - b));
    let added = |us, base| if name == DIRECT { "-".to_owned() } else { added(us, base) };
    let times = |base: &Row| {
        let of_round = |(round, us): (&u32, &i64)| ratio_hundredths(*us, *base.cpu_us.get(round)?);
        let ratio = median(row.cpu_us.iter().filter_map(of_round));
        cell(ratio.map(|ratio| fixed(ratio, 2, 2)))
    };
    let cpu = row.cpu_us.values().copied();
    let spread = cpu.clone().min().zip(cpu.clone().max());
    let mib = |kib: Option<i64>| cell(kib.map(|kib| fixed(kib * 10 / 1024, 1, 1)));
    let cells = [
        cell(median(cpu).map(seconds)),
        cell(spread.map(|(low, high)| format!("{} to {}", seconds(low), seconds(high)))),
        times(compared.bare),
        times(compared.nginx),
        cell(row.per_second.map(|count| count.to_string())),
        millis(row.p50_us),
        millis(row.p99_us),
        added(row.p50_us, direct.p50_us),
        added(row.p99_us, direct.p99_us),
        added(row.first_byte_p50_us, direct.first_byte_p50_us),
        mib(row.resident_kib),
        mib(row.peak_kib),
    ];
    writeln!(text, "| {name} | {} |", cells.join(" | "))
}

fn cell(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// What the client saw of a subject, and what its own process used.
fn served(samples: &[&Sample], name: &str) -> Row {
    let middle = |of: &dyn Fn(&Sample) -> Option<u64>| {
        median(samples.iter().filter_map(|sample| of(sample)).map(signed))
    };
    let total = |of: fn(Percentiles) -> u64| middle(&move |s| s.load.total.map(of));
    Row {
        per_second: middle(&|s| {
            s.load.requests.checked_mul(1_000_000)?.checked_div(s.load.elapsed_us)
        }),
        p50_us: total(|times| times.p50_us),
        p99_us: total(|times| times.p99_us),
        first_byte_p50_us: middle(&|s| s.load.first_byte.map(|times| times.p50_us)),
        errors: samples.iter().map(|sample| sample.load.errors).sum(),
        unsettled: samples.iter().filter(|sample| !sample.settled).count(),
        ..beside(samples, name)
    }
}

/// What one process used while the subject served.
fn beside(samples: &[&Sample], process: &str) -> Row {
    let used = |sample: &Sample| -> Option<Used> {
        sample.processes.iter().find(|used| used.name == process).cloned()
    };
    let cpu = |sample: &&Sample| {
        let us = per_thousand(used(sample)?.cpu_us, sample.load.requests)?;
        Some((sample.round, signed(us)))
    };
    let memory = |of: fn(&Used) -> u64| {
        median(samples.iter().filter_map(|sample| used(sample)).map(|used| signed(of(&used))))
    };
    Row {
        cpu_us: samples.iter().filter_map(cpu).collect(),
        resident_kib: memory(|used| used.memory.resident_kib),
        peak_kib: memory(|used| used.memory.peak_kib),
        ..Row::default()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{load::LoadReport, plan::TESTS, processes::Memory};

    fn sample(
        round: u32,
        subject: &'static str,
        millis: u64,
        used: &[(&'static str, u64)],
    ) -> Sample {
        let times = |us| Some(Percentiles { p50_us: us, p90_us: us, p99_us: us * 2 });
        Sample {
            test: TESTS[0].name,
            round,
            subject,
            load: LoadReport {
                requests: 2_000,
                errors: 0,
                first_error: None,
                elapsed_us: 1_000_000,
                total: times(millis * 1_000),
                first_byte: times(millis * 500),
                bytes: 1,
            },
            processes: used
                .iter()
                .map(|(name, cpu_us)| Used {
                    name,
                    cpu_us: *cpu_us,
                    memory: Memory { resident_kib: 2_048, peak_kib: 3_072 },
                })
                .collect(),
            settled: true,
        }
    }

    fn measured() -> Vec<Sample> {
        let gateway = |round, us| sample(round, GATEWAY, 5, &[(GATEWAY, us), (BILLING, 10_000)]);
        vec![
            sample(1, DIRECT, 1, &[]),
            sample(1, BARE, 2, &[(BARE, 60_000)]),
            gateway(1, 90_000),
            sample(2, DIRECT, 1, &[]),
            sample(2, BARE, 4, &[(BARE, 120_000)]),
            gateway(2, 150_000),
        ]
    }

    fn line_of(name: &str, table: &str) -> String {
        let begin = format!("| {name} |");
        table.lines().find(|line| line.starts_with(&begin)).unwrap().to_owned()
    }

    #[test]
    fn a_line_holds_medians_the_median_ratio_of_the_rounds_and_what_was_added() {
        let table = table(&TESTS[0], &measured()).unwrap();

        assert_eq!(
            line_of(GATEWAY, &table),
            "| permille gateway | 0.0600 | 0.0450 to 0.0750 | 1.37 | - | 2000 | 5.000 | 10.000 \
             | 4.000 | 8.000 | 2.000 | 2.0 | 3.0 |"
        );
        assert_eq!(
            line_of(BARE, &table),
            "| bare proxy | 0.0450 | 0.0300 to 0.0600 | 1.00 | - | 2000 | 3.000 | 6.000 | 2.000 \
             | 4.000 | 1.000 | 2.0 | 3.0 |"
        );
        assert!(table.contains("Aim: permille gateway at most 2.0 × the CPU of the bare proxy."));
    }

    #[test]
    fn billing_stands_beside_the_gateway_without_latencies_of_its_own() {
        let table = table(&TESTS[0], &measured()).unwrap();

        assert_eq!(
            line_of(BILLING, &table),
            "| permille billing | 0.0050 | 0.0050 to 0.0050 | 0.12 | - | - | - | - | - | - | - \
             | 2.0 | 3.0 |"
        );
    }

    #[test]
    fn a_subject_that_was_not_measured_is_named() {
        let table = table(&TESTS[0], &measured()).unwrap();

        assert!(line_of(NGINX, &table).contains("apt-get install nginx-light"));
        assert!(super::table(&TESTS[1], &[]).unwrap().contains("| bare proxy | not measured |"));
    }

    #[test]
    fn failed_requests_and_unfinished_work_are_said_under_the_table() {
        let mut samples = measured();
        samples[1].load.errors = 3;
        samples[2].settled = false;

        let table = table(&TESTS[0], &samples).unwrap();

        assert!(table.contains("bare proxy: 3 requests failed; its figures are void."));
        assert!(table.contains("permille gateway: still busy at the end of 1 measurements"));
    }
}
