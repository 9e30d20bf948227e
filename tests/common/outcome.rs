//! What comes of running the program: what it prints, refuses and writes.

use crate::program::Lpc;

impl Lpc {
    /// Runs and expects success; returns what was printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "lpc {}: {errors}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs and expects a refusal: exit status 1 and one line at the end, which is returned.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "lpc {}: {errors}", arguments.join(" "));
        let mut lines = errors.lines().filter(|line| line.starts_with("lpc: "));
        let line = lines.next().unwrap_or_else(|| panic!("no `lpc:` line in {errors:?}")).to_string();
        assert_eq!(lines.next(), None, "more than one line: {errors}");
        assert_eq!(errors.lines().last(), Some(line.as_str()), "not the last line: {errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        line
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}
