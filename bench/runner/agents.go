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
	Program string // file name in the folder of programs
	Accept  receiver.Accept
	// Prepare writes what the agent reads into Setup.Dir, and says how to run it.
	Prepare func(Setup) (Command, error)
}

// Setup is what an agent has to work with.
type Setup struct {
	Dir         string // its own folder: configuration, state
	TargetsFile string // the fleet in file_sd format
	MetricsPath string
	WriteURL    string
	Interval    time.Duration
}

// Command is how an agent runs, in its default settings.
type Command struct {
	Args []string
	Env  []string
}

// Agents lists what can be measured, the one to compare with first.
func Agents() []Agent {
	return []Agent{
		{Name: "envoy-scraper", Program: "envoy-scraper", Accept: receiver.AcceptBoth, Prepare: envoyScraper("")},
		{Name: "envoy-scraper-2.0", Program: "envoy-scraper", Accept: receiver.Accept2, Prepare: envoyScraper("io.prometheus.write.v2.Request")},
		{Name: "envoy-scraper-1.0", Program: "envoy-scraper", Accept: receiver.Accept1, Prepare: envoyScraper("prometheus.WriteRequest")},
	}
}

// FindAgents resolves names separated by commas.
func FindAgents(names string) ([]Agent, error) {
	var found []Agent
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(Agents(), func(a Agent) bool { return a.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("agent %q is not one of %s", name, strings.Join(agentNames(), ", "))
		}
		found = append(found, Agents()[i])
	}
	return found, nil
}

func agentNames() []string {
	var names []string
	for _, a := range Agents() {
		names = append(names, a.Name)
	}
	return names
}

// envoyScraper runs our own binary; without a message the protocol is negotiated.
func envoyScraper(message string) func(Setup) (Command, error) {
	return func(s Setup) (Command, error) {
		file, err := s.writeConfig("envoy-scraper.yml", message)
		return Command{Args: []string{"--config.file=" + file, "--web.listen-address=127.0.0.1:0"}}, err
	}
}

// writeConfig writes a configuration as Prometheus and everything compatible with it reads it.
func (s Setup) writeConfig(name, message string) (string, error) {
	protocol := ""
	if message != "" {
		protocol = "\n  protobuf_message: " + message
	}
	text := fmt.Sprintf(`global:
  scrape_interval: %[1]s
  scrape_timeout: %[1]s
scrape_configs:
- job_name: envoy-stats
  metrics_path: %[2]s
  file_sd_configs:
  - files: [%[3]q]
remote_write:
- url: %[4]s%[5]s
`, seconds(s.Interval), s.MetricsPath, s.TargetsFile, s.WriteURL, protocol)
	path := filepath.Join(s.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// seconds writes a duration as Prometheus reads it.
func seconds(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }
