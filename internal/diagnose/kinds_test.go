package diagnose

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTroubleshootingListsAllKinds compares the table of docs/troubleshooting.md with Kinds.
func TestTroubleshootingListsAllKinds(t *testing.T) {
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| verdict | cause | means |\n|---|---|---|\n"
	_, table, ok := strings.Cut(string(text), head)
	table, _, _ = strings.Cut(table, "\n\n")
	var want strings.Builder
	for _, k := range Kinds() {
		fmt.Fprintf(&want, "| %s | `%s` | %s |\n", k.Verdict, k.Cause, k.Means)
	}
	if got := table + "\n"; !ok || got != want.String() {
		t.Errorf("docs/troubleshooting.md has\n%s\nwant\n%s%s", got, head, want.String())
	}
}

func TestKindOf(t *testing.T) {
	for _, k := range Kinds() {
		if got, ok := kindOf(k.Verdict, k.Cause); !ok || got != k {
			t.Errorf("kind of %s = %+v", k.Cause, got)
		}
		if rank(k.Verdict) < 0 {
			t.Errorf("%s is not among Verdicts", k.Verdict)
		}
	}
	for cause, want := range map[string]string{
		"down:status:503": "down:status:CODE", "down:timeout:namespace:pay": "down:timeout:namespace:NAMESPACE",
		"down:refused": "down:refused", "cut:sample_limit": "", "down:strange": "",
	} {
		if got, _ := kindOf(Down, cause); got.Cause != want {
			t.Errorf("kind of %s = %q, want %q", cause, got.Cause, want)
		}
	}
	if k, ok := kindOf(NotATarget, "rule:a:b:7"); !ok || k.Cause != "rule:JOB:NUMBER" {
		t.Errorf("a job with a colon: %+v", k)
	}
	if k, ok := kindOf(Duplicate, "duplicate:a:b"); !ok || k.Cause != "duplicate:JOB" {
		t.Errorf("a job with a colon: %+v", k)
	}
}

// kindOf returns the kind of a row; false: there is none, which is a bug.
func kindOf(v Verdict, cause string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Verdict == v && k.matches(cause) {
			return k, true
		}
	}
	return Kind{}, false
}

// matches compares part by part. A part in capitals stands for any text; the name of a job may hold colons.
func (k Kind) matches(cause string) bool {
	wants := strings.Split(k.Cause, ":")
	parts := strings.Split(cause, ":")
	if strings.HasPrefix(k.Cause, causeRule+":") && len(parts) > len(wants) {
		return parts[0] == causeRule
	}
	if len(parts) != len(wants) {
		return strings.HasSuffix(k.Cause, ":JOB") && parts[0] == wants[0]
	}
	for i, want := range wants {
		if want != strings.ToUpper(want) && want != parts[i] {
			return false
		}
	}
	return true
}
