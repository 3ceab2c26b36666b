package runner

import "github.com/envoy-scraper/envoy-scraper/bench/receiver"

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
