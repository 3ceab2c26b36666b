package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// Agent is something that scrapes a fleet and remote-writes to a receiver. To
// add one: a line in Agents, and a function that writes its configuration.
type Agent struct {
	Name    string
	Program string // file name in the folder of programs, or of peers
	Accept  receiver.Accept
	// Prepare writes the agent's configuration into Setup.Dir and returns how to run the agent.
	Prepare func(Setup) (Command, error)

	Peer      bool // not ours: what ours is compared with
	Tuned     bool // runs with other than its default settings
	Synthetic int  // samples that it adds to each scrape

	// Its own metrics of these. Without a name, the report has no such figure.
	SentBytes  string // compressed bodies of requests
	QueueBytes string // written to the files of its queue
	Pending    string // samples that are queued at present
}

// Setup is the environment of one agent.
type Setup struct {
	Dir         string // its own folder, where it also runs and keeps its state
	TargetsFile string // the fleet in file_sd format; empty: no target at all
	MetricsPath string
	WriteURL    string
	Interval    time.Duration
	Job         Job
	Web         string // address for its own pages
	// Delay is batch_send_deadline: how long a sample may wait for a request to fill; 0: the agent's default.
	Delay time.Duration
}

// Command is how an agent runs, in its default settings.
type Command struct {
	Args []string
	Env  []string
}

// The messages of remote write, as protobuf_message names them.
const (
	message1 = "prometheus.WriteRequest"
	message2 = "io.prometheus.write.v2.Request"
)

// Agents lists what can be measured, ours first.
func Agents() []Agent {
	return append([]Agent{
		ours("envoy-scraper", receiver.AcceptBoth, ""),
		ours("envoy-scraper-2.0", receiver.Accept2, message2),
		ours("envoy-scraper-bare-2.0", receiver.Accept2, message2, withoutMetadata),
		ours("envoy-scraper-1.0", receiver.Accept1, message1),
	}, peers()...)
}

// ours is our own program; without a message the protocol is negotiated. more is added to the endpoint.
func ours(name string, accept receiver.Accept, message string, more ...string) Agent {
	return Agent{
		Name: name, Program: "envoy-scraper", Accept: accept, Prepare: envoyScraper(message, more...), Synthetic: 5,
		SentBytes: "envoy_scraper_remotewrite_sent_bytes_total", QueueBytes: "envoy_scraper_queue_written_bytes_total",
		Pending: "envoy_scraper_remotewrite_pending_samples",
	}
}

// FindAgents resolves names separated by commas.
func FindAgents(names string) ([]Agent, error) {
	var found []Agent
	all := Agents()
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(a Agent) bool { return a.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("agent %q is not one of %s", name, strings.Join(agentNames(all), ", "))
		}
		found = append(found, all[i])
	}
	return found, nil
}

func agentNames(agents []Agent) []string {
	var names []string
	for _, a := range agents {
		names = append(names, a.Name)
	}
	return names
}

const withoutMetadata = "  metadata_config: {send: false}\n"

func envoyScraper(message string, more ...string) func(Setup) (Command, error) {
	return func(s Setup) (Command, error) {
		// It asks for gzip, as the other agents do. By itself it would ask for plain pages: the fleet is near.
		const path = "  metrics_path:"
		scrapes := strings.Replace(s.scrapeConfig(), path, "  enable_compression: true\n"+path, 1)
		file, err := s.writeConfig("envoy-scraper.yml", scrapes+s.remoteWrite(message)+strings.Join(more, "")+
			s.ownBlock())
		return Command{Args: []string{"--config.file=" + file, "--web.listen-address=" + s.Web}}, err
	}
}

// scrapeConfig is the part that all agents read alike.
func (s Setup) scrapeConfig() string {
	discovery := fmt.Sprintf("file_sd_configs:\n  - files: [%q]", s.TargetsFile)
	if s.TargetsFile == "" {
		discovery = "static_configs:\n  - targets: []"
	}
	rules := ""
	if s.Job.Keep != "" {
		rules = fmt.Sprintf("  metric_relabel_configs: [{source_labels: [__name__], regex: %q, action: keep}]\n",
			s.Job.Keep)
	}
	return fmt.Sprintf(`global:
  scrape_interval: %[1]s
  scrape_timeout: %[1]s
scrape_configs:
- job_name: envoy-stats
  metrics_path: %[2]s
  %[3]s
%[4]s`, milliseconds(s.Interval), s.MetricsPath, discovery, rules)
}

// ownBlock is the block of settings that only our own program has.
func (s Setup) ownBlock() string {
	text := ""
	if s.Job.PushDown != "" {
		text += fmt.Sprintf("  jobs: [{name: envoy-stats, push_down: %s, pace: fixed}]\n", s.Job.PushDown)
	}
	if s.Job.Sums != "" {
		text += fmt.Sprintf("  aggregate: [{jobs: [envoy-stats], match: %q, without: [%s], as: {instance: bench}}]\n",
			s.Job.Sums, strings.Join(podLabels(), ", "))
	}
	if text == "" {
		return ""
	}
	return "envoy_scraper:\n" + text
}

// podLabels are the labels that tell the pods of a workload apart. Sums have none of them.
func podLabels() []string { return []string{"instance", "namespace", "pod_name"} }

// remoteWrite is the part that Prometheus and everything compatible with its file reads.
func (s Setup) remoteWrite(message string) string {
	text := "remote_write:\n- url: " + s.WriteURL + "\n"
	if message != "" {
		text += "  protobuf_message: " + message + "\n"
	}
	if s.Delay > 0 {
		text += "  queue_config: {batch_send_deadline: " + milliseconds(s.Delay) + "}\n"
	}
	return text
}

func (s Setup) writeConfig(name, text string) (string, error) {
	path := filepath.Join(s.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// milliseconds writes a duration as Prometheus reads it.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }
