package compliance

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/compliance/remotewrite/sender"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// scraper lets the library start the program under test.
type scraper struct {
	t      *testing.T
	binary string
}

func (scraper) Name() string { return "envoy-scraper" }

// Run implements sender.Sender.
func (s scraper) Run(ctx context.Context, opts sender.Options) error {
	dir := s.t.TempDir()
	file := filepath.Join(dir, "scraper.yml")
	// The library's receiver is for one connection; its text is OpenMetrics.
	yaml := fmt.Sprintf(`global:
  scrape_interval: 1s
scrape_configs:
- job_name: %q
  static_configs:
  - targets: [%q]
remote_write:
- url: %q
  protobuf_message: %q
  send_exemplars: true
  queue_config:
    max_shards: 1
`, opts.ScrapeTargetJobName, opts.ScrapeTargetHostPort, opts.RemoteWriteEndpointURL, opts.RemoteWriteMessage)
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		return err
	}
	args := []string{"--config.file=" + file, "--web.listen-address=127.0.0.1:0"}
	if agent.Knows(s.t, s.binary, "storage.path") {
		args = append(args, "--storage.path="+filepath.Join(dir, "storage"))
	}
	return sender.RunCommand(ctx, dir, nil, s.binary, args...)
}

// nullSender stands in for a program that sends nothing, or nonsense.
type nullSender struct{ kind string }

func (n nullSender) Name() string { return n.kind }

// Run implements sender.Sender.
func (n nullSender) Run(ctx context.Context, opts sender.Options) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if n.kind == sendsNothing {
		<-ctx.Done()
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, opts.RemoteWriteEndpointURL, bytes.NewReader(nil))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req) // an empty message, not even compressed
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

const (
	senderVariable = "COMPLIANCE_SENDER" // in the environment of the child process: whom to check
	binaryVariable = "COMPLIANCE_BINARY" // and where the program is
	theScraper     = "envoy-scraper"
	sendsNothing   = "nothing"
	sendsEmpty     = "empty"
)

// TestInsideLibrary runs the checks of Prometheus' library; only TestLibrary starts it, in a process of its own.
func TestInsideLibrary(t *testing.T) {
	switch kind := os.Getenv(senderVariable); kind {
	case "":
	case theScraper:
		sender.RunTests(t, scraper{t, os.Getenv(binaryVariable)}, sender.ComplianceTests())
	default:
		sender.RunTests(t, nullSender{kind}, sender.ComplianceTests())
	}
}

// TestLibrary lets Prometheus' library judge the program, and two senders that do nothing right, so that passing means
// something. Which checks fail is compared exactly: one that passes from now on has to leave the list.
func TestLibrary(t *testing.T) {
	all := []string{"_setup"}
	for _, test := range sender.ComplianceTests() {
		for _, c := range test.ValidateCases {
			all = append(all, strings.ReplaceAll(c.Name, " ", "_"))
		}
	}
	binary := parts.Scraper(t)
	for kind, want := range map[string][]string{
		theScraper:   nil,
		sendsNothing: all,
		sendsEmpty:   all,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			passed, failed, out := insideLibrary(t, kind, binary)
			t.Logf("passed %q, failed %q", passed, failed)
			if want := slices.Sorted(slices.Values(want)); !slices.Equal(failed, want) || len(passed)+len(failed) != len(all) {
				t.Errorf("want %q to fail, and the rest of %q to pass:\n%s", want, all, out)
			}
		})
	}
}

var verdict = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL): TestInsideLibrary/\S+/rw2/(\S+)`)

// insideLibrary checks a sender in a process of its own and returns the names of the checks, sorted.
func insideLibrary(t *testing.T, kind, binary string) (passed, failed []string, out []byte) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestInsideLibrary$", "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), senderVariable+"="+kind, binaryVariable+"="+binary)
	out, _ = cmd.CombinedOutput() // it fails where a check fails
	for _, m := range verdict.FindAllSubmatch(out, -1) {
		if name := string(m[2]); string(m[1]) == "PASS" {
			passed = append(passed, name)
		} else {
			failed = append(failed, name)
		}
	}
	slices.Sort(passed)
	slices.Sort(failed)
	return passed, failed, out
}
