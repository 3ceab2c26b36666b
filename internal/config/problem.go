package config

import (
	"fmt"
	"strings"
)

// Severity says whether a problem keeps a configuration from running.
type Severity string

// A problem's severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Problem is one thing about a configuration that a person should change. None of its fields holds a secret.
type Problem struct {
	Severity Severity
	File     string // as the user named it; a flag's name where a flag is the cause
	Line     int    // 0: unknown, or of the whole file
	Job      string
	Key      string // the way to the key, as scrape_configs[0].relabel_configs[2].regex
	Value    string // as written, shortened
	Why      string
	Fix      string // the way out
}

// String is the problem on one line: file:line: severity: key: value: why (fix).
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Severity == SeverityWarning {
		b.WriteString(": warning")
	}
	if p.Job != "" {
		fmt.Fprintf(&b, ": job %q", p.Job)
	}
	for _, part := range []string{p.Key, p.Value, p.Why} {
		if part != "" {
			b.WriteString(": ")
			b.WriteString(part)
		}
	}
	if p.Fix != "" {
		fmt.Fprintf(&b, " (%s)", p.Fix)
	}
	return b.String()
}

// Problems is the error of Load: everything that was found, warnings included, in the order of the file.
type Problems []Problem

// Error lists the errors, one a line.
func (ps Problems) Error() string {
	var lines []string
	for _, p := range ps {
		if p.Severity == SeverityError {
			lines = append(lines, p.String())
		}
	}
	return strings.Join(lines, "\n")
}

// Errors is how many of the problems keep the configuration from running.
func (ps Problems) Errors() int {
	n := 0
	for _, p := range ps {
		if p.Severity == SeverityError {
			n++
		}
	}
	return n
}
