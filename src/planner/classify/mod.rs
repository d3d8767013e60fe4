//! What a failure was: exit code, reason and message in, a class and the words that say so out.
//!
//! The kubelet brings the end of the log as the message of a container that failed, at most 80 lines or 2,048 bytes
//! (`terminationMessagePolicy: FallbackToLogsOnError`, which pods have unless the template says otherwise).
//!
//! A log shows many errors, of several ranks, of which the last one ended the program, unless it is one of the broken
//! connections that follow from it. So of each rank the last line counts that explains most, and between the ranks of
//! one pod the one that torchrun names as the root cause, or else the one that explains most.

mod texts;

use crate::api::{FailureClass, shortened};

/// Most that is kept of the words that say what a failure was.
const EXCERPT_BYTES: usize = 512;

/// How a container, or a pod as a whole, ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct End<'a> {
    /// Exit code; absent when the pod ended as a whole.
    pub exit_code: Option<i32>,
    /// The kubelet's word.
    pub reason: Option<&'a str>,
    /// The kubelet's message, or the end of the log.
    pub message: Option<&'a str>,
}

/// What a failure was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// In one word.
    pub class: FailureClass,
    /// The line of the message that says so; without one its end. At most 512 bytes.
    pub excerpt: Option<String>,
}

use FailureClass::{Crashed, Evicted, Exception, Killed, OOMKilled, Preempted, StartError, Terminated, Unknown};

/// The words of a pod's status, or of a container's, from the kubelet (`pkg/kubelet/eviction`, `preemption`,
/// `nodeshutdown`, `kuberuntime`) and from containerd.
const REASONS: [(&str, FailureClass); 9] = [
    ("OOMKilled", OOMKilled),
    ("Evicted", Evicted),
    ("Preempting", Preempted),
    ("Preempted", Preempted),
    ("NodeShutdown", Preempted),
    ("NodeLost", Preempted),
    ("Terminated", Preempted),
    ("StartError", StartError),
    ("ContainerCannotRun", StartError),
];

/// What begins torchrun's account of the rank of a pod that failed first (`torch.distributed.elastic`'s
/// `ChildFailedError`).
const ROOT_CAUSE: &str = "Root Cause (first observed failure):";

/// The exception of torchrun's agent, which says no more than that.
const CHILD_FAILED: &str = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError";

/// What the failure was. The kubelet's own word goes first, then what the program wrote, then its exit code.
#[must_use]
pub fn classify(end: &End<'_>) -> Cause {
    let message = end.message.unwrap_or_default();
    let told = said(end.reason).map(|class| (class, None));
    let found = told.or_else(|| written(message)).or_else(|| root_signal(message));
    let (class, line) = found.unwrap_or_else(|| (by_code(end.exit_code), None));
    let line = line.map(ToOwned::to_owned).or_else(|| last_lines(message));
    Cause {
        class,
        excerpt: line.map(|line| shortened(line, EXCERPT_BYTES)),
    }
}

fn said(reason: Option<&str>) -> Option<FailureClass> {
    let mut known = REASONS.into_iter();
    known.find(|(word, _)| reason == Some(word)).map(|(_, class)| class)
}

/// What an exit code says by itself: 128 + n is a signal.
fn by_code(code: Option<i32>) -> FailureClass {
    match code {
        Some(126 | 127) => StartError,
        Some(137) => Killed,
        Some(129 | 130 | 143) => Terminated,
        // SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE and SIGSEGV.
        Some(132..=136 | 139) => Crashed,
        _ => Unknown,
    }
}

/// A telling line, and the rank that wrote it, if the line says so.
struct Telling<'a> {
    rank: Option<&'a str>,
    class: FailureClass,
    line: &'a str,
}

/// The line of the message that tells what the failure was.
fn written(message: &str) -> Option<(FailureClass, Option<&str>)> {
    let mut best: Vec<Telling<'_>> = Vec::new();
    for line in message.lines() {
        let (rank, line) = unprefixed(line);
        let Some(class) = telling(line) else { continue };
        let explains_more = |other: &Telling<'_>| other.rank == rank && other.class.standing() < class.standing();
        if !best.iter().any(explains_more) {
            best.retain(|other| other.rank != rank);
            best.push(Telling { rank, class, line });
        }
    }
    let root = root_cause(message, "rank").and_then(|rank| rank.split_whitespace().next());
    let of_root = best.iter().find(|telling| root.is_some() && telling.rank == root);
    let explained = |telling: &&Telling<'_>| (telling.class.standing(), telling.class == Exception);
    let chosen = of_root.or_else(|| best.iter().rev().min_by_key(explained))?;
    Some((chosen.class, Some(chosen.line)))
}

/// The class that a line stands for.
fn telling(line: &str) -> Option<FailureClass> {
    if line.starts_with(CHILD_FAILED) {
        return None;
    }
    let known = texts::row(line).map(|(_, _, class)| *class);
    known.or_else(|| is_exception(line).then_some(Exception))
}

/// Whether a line is the last one of a traceback: the name of an exception, alone or before a colon.
fn is_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
    let class = name.rsplit('.').next().unwrap_or_default();
    let named = class.ends_with("Error") || class.ends_with("Exception");
    named && name.chars().all(word) && class.starts_with(|first: char| first.is_ascii_uppercase())
}

/// A line without what a launcher puts before it, as in `[rank3]: ` and `[default3]:`, and the rank from there.
fn unprefixed(line: &str) -> (Option<&str>, &str) {
    let (mut rank, mut rest) = (None, line.trim());
    while let Some((label, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        if label.contains(['[', ' ']) {
            break;
        }
        rank = label.strip_prefix("rank").or(rank);
        rest = after.trim_start();
    }
    (rank, rest)
}

/// A field of torchrun's account of the rank of this pod that failed first.
fn root_cause<'a>(message: &'a str, field: &str) -> Option<&'a str> {
    let (_, account) = message.rsplit_once(ROOT_CAUSE)?;
    let mut fields = account.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.trim() == field)?;
    Some(value.trim())
}

/// What torchrun says of a process that a signal ended: minus its number.
fn root_signal(message: &str) -> Option<(FailureClass, Option<&str>)> {
    let code = root_cause(message, "exitcode")?.split_whitespace().next()?;
    let signal: i32 = code.strip_prefix('-')?.parse().ok()?;
    let class = by_code(signal.checked_add(128));
    (class != Unknown).then(|| (class, root_cause(message, "traceback")))
}

/// The end of a message that tells nothing else, in whole lines.
fn last_lines(message: &str) -> Option<String> {
    let message = message.trim();
    let start = message.ceil_char_boundary(message.len().saturating_sub(EXCERPT_BYTES));
    let end = &message[start..];
    let whole = if start == 0 { None } else { end.split_once('\n') };
    let lines = whole.map_or(end, |(_, lines)| lines);
    (!lines.is_empty()).then(|| lines.to_owned())
}

#[cfg(test)]
mod tests {
    use FailureClass::{CudaOutOfMemory, DataError, ImportError, PeerFailure};

    use super::*;

    fn class(message: &str) -> FailureClass {
        let end = End {
            exit_code: Some(1),
            reason: Some("Error"),
            message: Some(message),
        };
        classify(&end).class
    }

    /// What torchrun's agent prints at the end of its log.
    fn account(rank: u32, exit_code: i32, traceback: &str) -> String {
        format!(
            "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n{line}\ntrain.py FAILED\n{dash}\n\
             Failures:\n  <NO_OTHER_FAILURES>\n{dash}\nRoot Cause (first observed failure):\n[0]:\n  \
             time      : 2027-01-15_08:00:00\n  host      : job-worker-0\n  rank      : {rank} (local_rank: 1)\n  \
             exitcode  : {exit_code} (pid: 42)\n  error_file: <N/A>\n  traceback : {traceback}\n{line}",
            line = "=".repeat(60),
            dash = "-".repeat(60),
        )
    }

    #[test]
    fn any_other_exception_is_told_by_its_name_and_no_other_line_is() {
        for (message, expected) in [
            (
                "Traceback (most recent call last):\n  File \"train.py\", line 8, in <module>\n    y = net(x)\n\
                 torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB",
                CudaOutOfMemory,
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyboardInterrupt",
                Terminated,
            ),
            ("ValueError: expected a batch", Exception),
            ("mypackage.errors.BadBatchException: at 7", Exception),
            ("step 100, loss 0.5", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(class(message), expected, "{message}");
        }
    }

    #[test]
    fn the_kubelets_word_goes_before_the_log_and_the_log_before_the_exit_code() {
        let of = |exit_code, reason, message| {
            classify(&End {
                exit_code,
                reason,
                message,
            })
            .class
        };
        let log = Some("ValueError: x");
        for (code, reason, message, expected) in [
            (Some(137), Some("OOMKilled"), log, OOMKilled),
            (Some(3), Some("OOMKilled"), None, OOMKilled),
            (None, Some("Evicted"), Some("The node was low on resource"), Evicted),
            (None, Some("Preempting"), None, Preempted),
            (
                Some(128),
                Some("StartError"),
                Some("exec: \"pyhton\": executable file not found"),
                StartError,
            ),
            (Some(137), Some("Error"), log, Exception),
            (Some(137), Some("Error"), None, Killed),
            (Some(143), Some("Error"), None, Terminated),
            (Some(130), Some("Error"), None, Terminated),
            (Some(139), Some("Error"), None, Crashed),
            (Some(134), Some("Error"), None, Crashed),
            (Some(127), Some("Error"), None, StartError),
            (Some(1), Some("Error"), None, Unknown),
            (None, None, None, Unknown),
        ] {
            assert_eq!(of(code, reason, message), expected, "{code:?} {reason:?} {message:?}");
        }
    }

    #[test]
    fn what_follows_from_an_error_does_not_hide_it_and_of_errors_the_last_one_counts() {
        let oom = "torch.OutOfMemoryError: CUDA out of memory.";
        let peer = "RuntimeError: Connection reset by peer";
        assert_eq!(class(&format!("{oom}\n{peer}")), CudaOutOfMemory);
        assert_eq!(class(&format!("{peer}\n{oom}")), CudaOutOfMemory);
        assert_eq!(class(&format!("{oom}\nretrying\nValueError: x")), Exception);
        assert_eq!(
            class(&format!("[rank0]: {peer}\n[rank1]: {oom}\n[rank2]: {peer}")),
            CudaOutOfMemory
        );
        assert_eq!(
            class("The import failed with ImportError: x, falling back\nConnection reset by peer"),
            PeerFailure
        );
    }

    #[test]
    fn the_rank_that_torchrun_names_is_the_one_that_counts() {
        let (zero, one) = ("[rank0]: FileNotFoundError: a", "[rank1]: ImportError: b");
        let message = |rank| {
            format!(
                "{one}\n{zero}\n{}",
                account(rank, 1, "To enable traceback see: https://pytorch.org")
            )
        };
        assert_eq!((class(&message(0)), class(&message(1))), (DataError, ImportError));
        let recorded = account(
            3,
            1,
            "Traceback (most recent call last):\n    File \"a.py\"\n  ModuleNotFoundError: No module named 'x'",
        );
        assert_eq!(class(&recorded), ImportError, "what @record brings");
    }

    #[test]
    fn a_process_that_a_signal_ended_is_told_by_torchrun() {
        for (signal, expected) in [(9, Killed), (11, Crashed), (15, Terminated), (6, Crashed)] {
            let told = format!("Signal {signal} received by PID 42");
            let message = account(1, -signal, &told);
            let cause = classify(&End {
                exit_code: Some(1),
                reason: Some("Error"),
                message: Some(&message),
            });
            assert_eq!((cause.class, cause.excerpt), (expected, Some(told)));
        }
        assert_eq!(
            class(&account(1, 1, "To enable traceback see: https://pytorch.org")),
            Unknown
        );
    }

    #[test]
    fn an_excerpt_is_the_line_that_tells_or_the_end_and_is_bounded() {
        let excerpt = |message: &str| {
            classify(&End {
                message: Some(message),
                ..End::default()
            })
            .excerpt
        };
        let told = "step 1\n[rank0]: ImportError: cannot import name 'a'\nstep 2\n";
        assert_eq!(excerpt(told).as_deref(), Some("ImportError: cannot import name 'a'"));
        assert_eq!(excerpt("a\nb\n").as_deref(), Some("a\nb"));
        assert_eq!(excerpt(" \n"), None);
        let long: Vec<String> = (0..200).map(|step| format!("step {step} ß")).collect();
        let long = long.join("\n");
        let end = excerpt(&long).unwrap();
        assert!(
            end.len() <= EXCERPT_BYTES && end.starts_with("step ") && end.ends_with("step 199 ß"),
            "{end}"
        );
        let line = format!("ValueError: {}", "ß".repeat(3_000));
        assert!(excerpt(&line).unwrap().len() <= EXCERPT_BYTES);
    }

    #[test]
    fn any_text_has_a_class_whatever_is_in_it() {
        for message in [
            "[",
            "[rank",
            "[rank0]:",
            "[a]:[b]: ",
            ":",
            ROOT_CAUSE,
            "ß]: [ß]:",
            "Error",
            "\u{0}\n\n:",
        ] {
            let _ = class(message);
            let _ = class(&format!(
                "{ROOT_CAUSE}\n{message}\n exitcode : -{message}\n rank : {message}"
            ));
        }
        assert_eq!(class(&account(0, i32::MIN, "x")), Unknown);
    }

    #[test]
    fn every_class_has_a_name_that_is_read_back() {
        for class in FailureClass::ALL {
            assert_eq!(FailureClass::parse(&class.to_string()), Some(class));
            assert_eq!(serde_json::json!(class), class.to_string());
        }
        assert_eq!(FailureClass::parse("Other"), None);
    }
}
