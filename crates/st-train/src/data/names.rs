//! Lists of names in messages.

/// Names as Python prints a list of them.
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{}'", name.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}
