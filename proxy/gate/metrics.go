package gate

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// Metrics are the figures of a gate. No label holds what a client chose.
type Metrics struct {
	registry      *prometheus.Registry
	handshakes    *prometheus.CounterVec
	commands      *prometheus.CounterVec
	refusals      *prometheus.CounterVec
	audited       *prometheus.CounterVec
	events        *prometheus.CounterVec
	sessionWrites *prometheus.CounterVec
	detected      prometheus.Counter
	gate          atomic.Pointer[Gate]
}

// NewMetrics returns the metrics of one gate, in a registry of their own. unshipped says
// how many recordings, and bytes of them, await their store.
func NewMetrics(unshipped func() (recordings int, bytes int64)) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cardea_proxy_" + name, Help: help}, labels)
	}
	m := &Metrics{
		registry:      prometheus.NewRegistry(),
		handshakes:    counter("handshakes_total", "Sign-ins by engine and outcome.", "engine", "outcome"),
		commands:      counter("commands_total", "Commands by the decision on them.", "decision"),
		refusals:      counter("refusals_total", "Refused sessions and commands by code.", "code"),
		audited:       counter("audited_commands_total", "Commands that a CommandRule with action Audit marked, by rule.", "rule"),
		events:        counter("recorded_events_total", "Recorded events by kind.", "kind"),
		sessionWrites: counter("session_writes_total", "Writes of Session objects by outcome.", "outcome"),
		detected: prometheus.NewCounter(prometheus.CounterOpts{Name: "cardea_proxy_detected_values_total",
			Help: "Values that detectors of MaskingRules replaced in results."}),
	}
	m.registry.MustRegister(m.handshakes, m.commands, m.refusals, m.audited, m.events, m.sessionWrites, m.detected,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.Gauge("sessions", "Connections that are admitted now.", func() float64 { return m.of(func(g *Gate) float64 { return float64(g.live.count()) }) })
	m.Gauge("policy_age_seconds", "Seconds since the policy was last proven current.", func() float64 {
		return m.of(func(g *Gate) float64 { return g.c.Clock.Since(g.c.Backend.ProvenAt()).Seconds() })
	})
	m.Gauge("unshipped_recordings", "Recordings that are not wholly stored.", func() float64 { n, _ := unshipped(); return float64(n) })
	m.Gauge("unshipped_bytes", "Bytes of recordings that await their store.", func() float64 { _, b := unshipped(); return float64(b) })
	return m
}

// Gauge adds a figure of a part that the gate does not know. It is called before the first
// use of the metrics, with a name that is not taken.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cardea_proxy_" + name, Help: help}, value))
}

func (m *Metrics) of(f func(*Gate) float64) float64 {
	if g := m.gate.Load(); g != nil {
		return f(g)
	}
	return 0
}

func (m *Metrics) observe(g *Gate) { m.gate.Store(g) }
func (m *Metrics) handshake(engine, outcome string) {
	m.handshakes.WithLabelValues(engine, outcome).Inc()
}
func (m *Metrics) refusal(code policy.Code)    { m.refusals.WithLabelValues(string(code)).Inc() }
func (m *Metrics) sessionWrite(outcome string) { m.sessionWrites.WithLabelValues(outcome).Inc() }

// recorder returns r with its events counted.
func (m *Metrics) recorder(r recording.Recorder) recording.Recorder {
	return counted{Recorder: r, m: m, responses: m.events.WithLabelValues(string(recording.KindResponse)),
		requests: m.events.WithLabelValues(string(recording.KindCommand)), allowed: m.commands.WithLabelValues("Allowed")}
}

// counted holds the counters of what is frequent: to look one up costs as much as to count.
type counted struct {
	recording.Recorder
	m                            *Metrics
	responses, requests, allowed prometheus.Counter
}

// Record implements recording.Recorder.
func (c counted) Record(e *recording.Event) error {
	if err := c.Recorder.Record(e); err != nil {
		return err
	}
	switch e.Kind {
	case recording.KindResponse:
		c.responses.Inc()
		if e.Response != nil && e.Response.Detected > 0 {
			c.m.detected.Add(float64(e.Response.Detected))
		}
	case recording.KindCommand:
		c.requests.Inc()
		c.command(e.Command)
	default:
		c.m.events.WithLabelValues(string(e.Kind)).Inc()
	}
	return nil
}

func (c counted) command(cmd *recording.Command) {
	if cmd == nil {
		return
	}
	if cmd.Decision == "Allowed" {
		c.allowed.Inc()
	} else {
		c.m.commands.WithLabelValues(cmd.Decision).Inc()
	}
	if cmd.Code != "" {
		c.m.refusals.WithLabelValues(cmd.Code).Inc()
	}
	for _, rule := range cmd.Audit {
		c.m.audited.WithLabelValues(rule).Inc()
	}
}

// Handler serves /metrics, /healthz (the process works) and /readyz (it takes sessions).
func (g *Gate) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.c.Metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !g.Ready() {
			http.Error(w, "no policy yet, or draining", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}
