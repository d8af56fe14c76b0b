//! An error's causes: to be looked through, and to be shown once on one line.

use std::error::Error;

/// The error and its causes, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// All of them on one line, without the repetitions of errors that print their source.
pub(crate) fn one_line(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text.as_str() {
            "" => cause,
            said if said.contains(&cause) => text,
            _ => format!("{text}: {cause}"),
        })
}
