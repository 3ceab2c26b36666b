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

// scraper starts the program under test for Prometheus' compliance library. It implements sender.Sender.
type scraper struct {
	t      *testing.T
	binary string
}

func (scraper) Name() string { return "envoy-scraper" }

// Run implements sender.Sender.
func (s scraper) Run(ctx context.Context, opts sender.Options) error {
	dir := s.t.TempDir()
	file := filepath.Join(dir, "scraper.yml")
	// The library's receiver serves only one connection and wants one sample of a series in a request. Its page is
	// OpenMetrics.
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
    batch_send_deadline: 1s
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

// nullSender is a sender that does nothing right: it sends no requests, or only nonsense.
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
	resp, err := http.DefaultClient.Do(req) // an empty body, not compressed
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

const (
	senderVariable = "COMPLIANCE_SENDER" // environment variable of the child process: the sender to check
	binaryVariable = "COMPLIANCE_BINARY" // environment variable of the child process: path of the program
	theScraper     = "envoy-scraper"
	sendsNothing   = "nothing"
	sendsEmpty     = "empty"
)

// TestInsideLibrary runs the checks of Prometheus' library. It does nothing unless TestLibrary starts it in a child
// process.
func TestInsideLibrary(t *testing.T) {
	switch kind := os.Getenv(senderVariable); kind {
	case "":
	case theScraper:
		sender.RunTests(t, scraper{t, os.Getenv(binaryVariable)}, sender.ComplianceTests())
	default:
		sender.RunTests(t, nullSender{kind}, sender.ComplianceTests())
	}
}

// TestLibrary runs Prometheus' compliance library against the program and against two senders that do nothing right, to
// see that the checks can fail. The list of failing checks must match exactly: a check that begins to pass must be
// removed from it.
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
			if want := slices.Sorted(slices.Values(want)); !slices.Equal(failed, want) ||
				len(passed)+len(failed) != len(all) {
				t.Errorf("want exactly %q of %q to fail:\n%s", want, all, out)
			}
		})
	}
}

var verdict = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL): TestInsideLibrary/\S+/rw2/(\S+)`)

// insideLibrary runs the library against a sender in a child process. It returns the sorted names of the passed and
// failed checks.
func insideLibrary(t *testing.T, kind, binary string) (passed, failed []string, out []byte) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestInsideLibrary$", "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), senderVariable+"="+kind, binaryVariable+"="+binary)
	out, _ = cmd.CombinedOutput() // the exit code is not 0 if a check fails
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
