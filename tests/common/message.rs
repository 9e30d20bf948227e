//! What an error says.

/// An error's message, which must be one line.
pub fn message<T>(result: lpc::Result<T>) -> String {
    let message = result.err().expect("an error").to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    message
}
