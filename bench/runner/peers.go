package runner

import (
	"fmt"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// peers are the agents that users would take instead, at the versions that
// bench/peers pins, each with its default settings where it is not Tuned.
func peers() []Agent {
	return []Agent{
		{Name: "prometheus-2.0", Program: "prometheus", Peer: true, Accept: receiver.Accept2,
			Prepare: prometheus(message2), Synthetic: 5, SentBytes: prometheusSent},
		{Name: "prometheus-1.0", Program: "prometheus", Peer: true, Accept: receiver.Accept1,
			Prepare: prometheus(message1), Synthetic: 5, SentBytes: prometheusSent},
		// It begins with a protocol of its own, is refused as a Prometheus refuses it, and goes on with 1.0.
		{Name: "vmagent", Program: "vmagent", Peer: true, Accept: receiver.Accept1, Prepare: vmagent(), Synthetic: 7,
			SentBytes: vmagentSent},
		{Name: "vmagent-gogc400", Program: "vmagent", Peer: true, Tuned: true, Accept: receiver.Accept1,
			Prepare: vmagent("GOGC=400"), Synthetic: 7, SentBytes: vmagentSent},
	}
}

const (
	prometheusSent = "prometheus_remote_storage_bytes_total"
	vmagentSent    = "vmagent_remotewrite_bytes_sent_total"
)

// prometheus runs Prometheus in agent mode.
func prometheus(message string) func(Setup) (Command, error) {
	return func(s Setup) (Command, error) {
		file, err := s.writeConfig("prometheus.yml", s.scrapeConfig()+s.remoteWrite(message))
		return Command{Args: []string{
			"--agent", "--config.file=" + file, "--storage.agent.path=data-agent", "--web.listen-address=" + s.Web,
		}}, err
	}
}

func vmagent(env ...string) func(Setup) (Command, error) {
	return func(s Setup) (Command, error) {
		file, err := s.writeConfig("promscrape.yml", s.scrapeConfig())
		return Command{Env: env, Args: []string{
			"-promscrape.config=" + file, "-remoteWrite.url=" + s.WriteURL, "-remoteWrite.tmpDataPath=data-vmagent",
			"-httpListenAddr=" + s.Web,
		}}, err
	}
}

// vmagentSums is vmagent with stream aggregation: its output total sums counters over the pods, under the names that
// they have. It looks for changes of the file of targets once per second instead of once per minute, as the other
// agents see them at once. All other settings are its defaults.
func vmagentSums() Agent {
	return Agent{Name: "vmagent-sums", Program: "vmagent", Peer: true, Accept: receiver.Accept1, Synthetic: 7,
		SentBytes: vmagentSent, Prepare: func(s Setup) (Command, error) {
			file, err := s.writeConfig("sums.yml", s.streamAggregation())
			if err != nil {
				return Command{}, err
			}
			command, err := vmagent()(s)
			command.Args = append(command.Args, "-remoteWrite.streamAggr.config="+file,
				"-promscrape.fileSDCheckInterval=1s")
			return command, err
		}}
}

// streamAggregation is the file of vmagent's stream aggregation. vmagent does not know the types of metrics, so the
// gauge among Istio's names is left out by name.
func (s Setup) streamAggregation() string {
	return fmt.Sprintf(`- match: '{__name__=~%q, __name__!="istio_build"}'
  interval: %s
  without: [%s]
  outputs: [total]
  keep_metric_names: true
`, s.Job.Sums, milliseconds(s.Interval), strings.Join(podLabels(), ", "))
}
