package api

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// cases maps what is tried to a patch of a valid object and the error it earns; an empty
// error is success.
type cases map[string]struct{ patch, wantError string }

// try creates each variant in a dry run.
func try(t *testing.T, manifest string, cases cases) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			refused(t, admin.Create(t.Context(), apiserver.Object(manifest, c.patch), client.DryRunAll), c.wantError)
		})
	}
}

func TestAccessGrant(t *testing.T) {
	try(t, apiserver.Grant, cases{
		"as it is":                     {"", ""},
		"no spec":                      {`{spec: null}`, "spec: Required value"},
		"no subject":                   {`{spec: {subject: null}}`, "spec.subject: Required value"},
		"no target":                    {`{spec: {targetRef: null}}`, "spec.targetRef: Required value"},
		"empty target":                 {`{spec: {targetRef: {name: ""}}}`, "spec.targetRef.name"},
		"no reason":                    {`{spec: {reason: null}}`, "spec.reason: Required value"},
		"empty reason":                 {`{spec: {reason: ""}}`, "spec.reason"},
		"longest reason":               {`{spec: {reason: ` + long(1024) + `}}`, ""},
		"too long a reason":            {`{spec: {reason: ` + long(1025) + `}}`, "spec.reason: Too long"},
		"both ends":                    {`{spec: {expiresAt: "2099-01-01T00:00:00Z"}}`, "exactly one of expiresAt and duration must be set"},
		"no end":                       {`{spec: {duration: null}}`, "exactly one of expiresAt and duration must be set"},
		"expiresAt":                    {`{spec: {duration: null, expiresAt: "2099-01-01T00:00:00Z"}}`, ""},
		"expiresAt is no time":         {`{spec: {duration: null, expiresAt: tomorrow}}`, "spec.expiresAt"},
		"starts after the end":         {`{spec: {duration: null, expiresAt: "2099-01-01T00:00:00Z", startsAt: "2099-01-01T00:00:00Z"}}`, "startsAt must be before expiresAt"},
		"starts before the end":        {`{spec: {duration: null, expiresAt: "2099-01-01T00:00:01Z", startsAt: "2099-01-01T00:00:00Z"}}`, ""},
		"starts, with a duration":      {`{spec: {startsAt: "2099-01-01T00:00:00Z"}}`, ""},
		"duration of zero":             {`{spec: {duration: 0s}}`, "duration must be more than 0s and at most 8760h"},
		"duration below zero":          {`{spec: {duration: -1h}}`, "duration must be more than 0s and at most 8760h"},
		"longest duration":             {`{spec: {duration: 8760h}}`, ""},
		"too long a duration":          {`{spec: {duration: 8760h1s}}`, "duration must be more than 0s and at most 8760h"},
		"duration in days":             {`{spec: {duration: 7d}}`, "written like 90m or 1h30m"},
		"duration without unit":        {`{spec: {duration: "60"}}`, "written like 90m or 1h30m"},
		"duration of several units":    {`{spec: {duration: 1h30m}}`, ""},
		"duration that overflows":      {`{spec: {duration: 99999999999999999999h}}`, "spec.duration"},
		"duration as a number":         {`{spec: {duration: 60}}`, "spec.duration"},
		"a group":                      {`{spec: {subject: {kind: Group, namespace: null, name: devs}}}`, "a Group needs delivery by Exchange"},
		"a user":                       {`{spec: {subject: {kind: User, namespace: null, name: jane@example.com}}}`, ""},
		"a user with a namespace":      {`{spec: {subject: {kind: User, name: jane}}}`, "namespace is required for a ServiceAccount and not allowed otherwise"},
		"an account without namespace": {`{spec: {subject: {namespace: null}}}`, "namespace is required for a ServiceAccount"},
		"another kind of subject":      {`{spec: {subject: {kind: Pod}}}`, `supported values: "ServiceAccount", "User", "Group"`},
		"empty subject":                {`{spec: {subject: {name: ""}}}`, "spec.subject.name"},
		"no permissions":               {`{spec: {postgres: null}}`, ""},
		"no databases":                 {`{spec: {postgres: {databases: []}}}`, "spec.postgres.databases"},
		"databases not said":           {`{spec: {postgres: {databases: null}}}`, "spec.postgres.databases: Required value"},
		"an empty database":            {`{spec: {postgres: {databases: [""]}}}`, "spec.postgres.databases[0]"},
		"too long a database":          {`{spec: {postgres: {databases: [` + long(64) + `]}}}`, "spec.postgres.databases[0]: Too long"},
		"a database twice":             {`{spec: {postgres: {databases: [a, a]}}}`, "Duplicate value"},
		"most databases":               {`{spec: {postgres: {databases: ` + list(64, "d%d") + `}}}`, ""},
		"too many databases":           {`{spec: {postgres: {databases: ` + list(65, "d%d") + `}}}`, "spec.postgres.databases: Too many"},
		"another access":               {`{spec: {postgres: {access: Superuser}}}`, `supported values: "ReadOnly", "ReadWrite", "Full"`},
		"another delivery":             {`{spec: {credentials: {delivery: Exchange}}}`, `supported values: "Secret"`},
		"a Secret's name":              {`{spec: {credentials: {secretName: orders-credential}}}`, ""},
		"not a Secret's name":          {`{spec: {credentials: {secretName: Orders_}}}`, "spec.credentials.secretName"},
		"a relative path":              {`{spec: {credentials: {mountPath: secrets}}}`, "spec.credentials.mountPath"},
		"another state":                {`{spec: {desiredState: Paused}}`, `supported values: "Active", "Revoked"`},
		"a host":                       {`{spec: {postgres: null, ssh: {logins: [deploy], channels: [Exec]}}}`, ""},
		"a host and a database":        {`{spec: {ssh: {logins: [deploy], channels: [Exec]}}}`, "at most one of postgres, kubernetes and ssh may be set"},
		"forwards without a channel":   {`{spec: {postgres: null, ssh: {logins: [deploy], channels: [Exec], forwards: ["a:1"]}}}`, "forwards must be set with channel LocalForward"},
		"a channel without forwards":   {`{spec: {postgres: null, ssh: {logins: [deploy], channels: [LocalForward]}}}`, "forwards must be set with channel LocalForward"},
		"a forward to port 0":          {`{spec: {postgres: null, ssh: {logins: [deploy], channels: [LocalForward], forwards: ["a:0"]}}}`, "spec.ssh.forwards"},
		"a forced command and a shell": {`{spec: {postgres: null, ssh: {logins: [deploy], channels: [Exec, Shell], forcedCommand: x}}}`, "with forcedCommand the only channel is Exec"},
		"revoked from the start":       {`{spec: {desiredState: Revoked}}`, ""},
		"kept after the end":           {`{spec: {ttlAfterExpired: 720h}}`, ""},
		"kept for less than nothing":   {`{spec: {ttlAfterExpired: -1s}}`, "ttlAfterExpired must be between 0s and 87600h"},
		"kept for days":                {`{spec: {ttlAfterExpired: 30d}}`, "written like 720h"},
		"longest name":                 {`{metadata: {name: ` + long(63) + `}}`, ""},
		"too long a name":              {`{metadata: {name: ` + long(64) + `}}`, "at most 63 characters"},
	})
}

// host is an SSH server of a Target.
const host = `{host: h, hostKeys: ["ssh-ed25519 AAAA"], logins: [deploy], userCA: {secretRef: {name: ca}}}`

func TestTarget(t *testing.T) {
	try(t, apiserver.Target, cases{
		"as it is":               {"", ""},
		"no protocol":            {`{spec: {postgres: null}}`, "exactly one of postgres, kubernetes and ssh must be set"},
		"a host":                 {`{spec: {postgres: null, ssh: ` + host + `}}`, ""},
		"a host and a database":  {`{spec: {ssh: ` + host + `}}`, "exactly one of postgres, kubernetes and ssh must be set"},
		"a host without its key": {`{spec: {postgres: null, ssh: {host: h, logins: [deploy], key: {secretRef: {name: k}}}}}`, "hostKeys or hostCAs must be set"},
		"a host without a key":   {`{spec: {postgres: null, ssh: {host: h, hostKeys: [x], logins: [deploy]}}}`, "exactly one of userCA and key must be set"},
		"a login that is none":   {`{spec: {postgres: null, ssh: {host: h, hostKeys: [x], logins: ["*"], key: {secretRef: {name: k}}}}}`, "spec.ssh.logins"},
		"no login":               {`{spec: {postgres: {login: null}}}`, "exactly one of login and ephemeralRole must be set"},
		"no host":                {`{spec: {postgres: {host: null}}}`, "spec.postgres.host: Required value"},
		"empty host":             {`{spec: {postgres: {host: ""}}}`, "spec.postgres.host"},
		"an address":             {`{spec: {postgres: {host: "fd00::1"}}}`, ""},
		"a URL":                  {`{spec: {postgres: {host: "postgres://orders"}}}`, "spec.postgres.host"},
		"port 0":                 {`{spec: {postgres: {port: 0}}}`, "spec.postgres.port"},
		"port 65535":             {`{spec: {postgres: {port: 65535}}}`, ""},
		"port 65536":             {`{spec: {postgres: {port: 65536}}}`, "spec.postgres.port"},
		"TLS without verifying":  {`{spec: {postgres: {tls: {mode: Require}}}}`, `supported values: "VerifyFull", "VerifyCA", "Disable"`},
		"no TLS":                 {`{spec: {postgres: {tls: {mode: Disable}}}}`, ""},
		"no TLS, with a CA":      {`{spec: {postgres: {tls: {mode: Disable, caRef: {kind: ConfigMap, name: ca, key: ca.crt}}}}}`, "caRef has no meaning with mode Disable"},
		"a CA":                   {`{spec: {postgres: {tls: {caRef: {kind: ConfigMap, name: ca, key: ca.crt}}}}}`, ""},
		"a CA of another kind":   {`{spec: {postgres: {tls: {caRef: {kind: Pod, name: ca, key: ca.crt}}}}}`, `supported values: "ConfigMap", "Secret"`},
		"a role for a session":   {`{spec: {postgres: {login: null, ephemeralRole: {adminSecretRef: {name: admin}, inRoles: [readers]}}}}`, ""},
		"a role and a login":     {`{spec: {postgres: {ephemeralRole: {adminSecretRef: {name: admin}, inRoles: [readers]}}}}`, "exactly one of login and ephemeralRole must be set"},
		"a role in no role":      {`{spec: {postgres: {login: null, ephemeralRole: {adminSecretRef: {name: admin}, inRoles: []}}}}`, "spec.postgres.ephemeralRole.inRoles"},
		"a role by nobody":       {`{spec: {postgres: {login: null, ephemeralRole: {inRoles: [readers]}}}}`, "ephemeralRole.adminSecretRef: Required value"},
		"a CA without key":       {`{spec: {postgres: {tls: {caRef: {kind: Secret, name: ca}}}}}`, "caRef.key: Required value"},
		"too long a server name": {`{spec: {postgres: {tls: {serverName: ` + long(254) + `}}}}`, "serverName: Too long"},
		"requires both":          {`{spec: {requires: [MaskingRule, CommandRule]}}`, ""},
		"requires twice":         {`{spec: {requires: [MaskingRule, MaskingRule]}}`, "Duplicate value"},
		"requires something":     {`{spec: {requires: [AccessPolicy]}}`, `supported values: "MaskingRule", "CommandRule"`},
		"no store's name":        {`{spec: {recording: {storeRef: {name: ""}}}}`, "spec.recording.storeRef.name"},
		"no store":               {`{spec: {recording: {}}}`, "spec.recording.storeRef: Required value"},
		"baseline rules":         {`{spec: {baseline: {disable: [postgres-drop-database]}}}`, ""},
		"too many of them":       {`{spec: {baseline: {disable: ` + list(33, "r%d") + `}}}`, "spec.baseline.disable: Too many"},
		"too long a name":        {`{metadata: {name: ` + long(64) + `}}`, "at most 63 characters"},
	})
}

func TestMaskingRule(t *testing.T) {
	function := func(f string) string {
		return `{spec: {columns: [{names: ["a.b.c"], function: ` + f + `}]}}`
	}
	names := func(n string) string {
		return `{spec: {columns: [{names: ` + n + `, function: {redact: {}}}]}}`
	}
	const union = "exactly one of redact, partial, hash, email, fixed, date, number and null must be set"
	try(t, apiserver.MaskingRule, cases{
		"as it is":               {"", ""},
		"no selector":            {`{spec: {targetSelector: null}}`, "spec.targetSelector: Required value"},
		"every Target":           {`{spec: {targetSelector: {matchLabels: null}}}`, ""},
		"an unknown operator":    {`{spec: {targetSelector: {matchExpressions: [{key: tier, operator: Like, values: [p]}]}}}`, "operator must be In or NotIn with values"},
		"In without values":      {`{spec: {targetSelector: {matchExpressions: [{key: tier, operator: In}]}}}`, "operator must be In or NotIn with values"},
		"Exists with values":     {`{spec: {targetSelector: {matchExpressions: [{key: tier, operator: Exists, values: [p]}]}}}`, "or Exists or DoesNotExist without"},
		"good expressions":       {`{spec: {targetSelector: {matchExpressions: [{key: tier, operator: In, values: [p]}, {key: x, operator: DoesNotExist}]}}}`, ""},
		"no columns":             {`{spec: {columns: []}}`, "spec.columns"},
		"columns not said":       {`{spec: {columns: null}}`, "at least one of columns, detectors and fields must be set"},
		"fields alone":           {`{spec: {columns: null, fields: [{resources: [configmaps, "*.example.org"], paths: ["data['a.b']", "**.env[*].value"]}]}}`, ""},
		"fields without paths":   {`{spec: {fields: [{resources: [configmaps]}]}}`, "spec.fields[0].paths"},
		"fields of nothing":      {`{spec: {fields: [{resources: [], paths: [data]}]}}`, "spec.fields[0].resources"},
		"no fields":              {`{spec: {fields: []}}`, "spec.fields"},
		"an empty path":          {`{spec: {fields: [{resources: [configmaps], paths: [""]}]}}`, "spec.fields[0].paths[0]"},
		"too many columns":       {`{spec: {columns: ` + list(65, `{names: [a.b.c%d], function: {redact: {}}}`) + `}}`, "spec.columns: Too many"},
		"most columns":           {`{spec: {columns: ` + list(64, `{names: [a.b.c%d], function: {redact: {}}}`) + `}}`, ""},
		"no names":               {names(`[]`), "spec.columns[0].names"},
		"two parts":              {names(`["customers.email"]`), "spec.columns[0].names[0]"},
		"four parts":             {names(`["db.public.customers.email"]`), "spec.columns[0].names[0]"},
		"an empty part":          {names(`["public..email"]`), "spec.columns[0].names[0]"},
		"a name twice":           {names(`["a.b.c", "a.b.c"]`), "Duplicate value"},
		"too long a name":        {names(`["a.b.` + long(188) + `"]`), "spec.columns[0].names[0]: Too long"},
		"too many names":         {names(list(65, "a.b.c%d")), "spec.columns[0].names: Too many"},
		"no function":            {function(`null`), "spec.columns[0].function"},
		"an empty function":      {function(`{}`), union},
		"two functions":          {function(`{redact: {}, email: {}}`), union},
		"null and another":       {function(`{"null": {}, email: {}}`), union},
		"redact":                 {function(`{redact: {}}`), ""},
		"email":                  {function(`{email: {}}`), ""},
		"null":                   {function(`{"null": {}}`), ""},
		"fixed":                  {function(`{fixed: {value: none}}`), ""},
		"fixed without value":    {function(`{fixed: {}}`), "fixed.value: Required value"},
		"fixed, too long":        {function(`{fixed: {value: ` + long(257) + `}}`), "fixed.value: Too long"},
		"partial":                {function(`{partial: {keepFirst: 1, keepLast: 16}}`), ""},
		"partial keeps nothing":  {function(`{partial: {}}`), "use redact to keep nothing"},
		"partial keeps zero":     {function(`{partial: {keepFirst: 0, keepLast: 0}}`), "use redact to keep nothing"},
		"partial keeps much":     {function(`{partial: {keepLast: 17}}`), "partial.keepLast"},
		"partial keeps negative": {function(`{partial: {keepFirst: -1, keepLast: 4}}`), "partial.keepFirst"},
		"predicates":             {`{spec: {predicates: Deny}}`, ""},
		"equality":               {`{spec: {predicates: Equality}}`, ""},
		"other predicates":       {`{spec: {predicates: Maybe}}`, `supported values: "Deny", "Equality"`},
		"functions":              {`{spec: {functions: [{signature: "app.money(numeric, app.currency)"}, {signature: app.now(), sha256: ` + strings.Repeat("0a", 32) + `}]}}`, ""},
		"functions, no schema":   {`{spec: {functions: [{signature: money(numeric)}]}}`, "spec.functions[0].signature"},
		"functions, no digest":   {`{spec: {functions: [{signature: app.now(), sha256: x}]}}`, "spec.functions[0].sha256"},
		"functions, no columns":  {`{spec: {columns: null, detectors: [SSN], functions: [{signature: app.now()}]}}`, "functions need columns"},
		"too many functions":     {`{spec: {functions: ` + list(65, "{signature: a.b%d()}") + `}}`, "spec.functions: Too many"},
		"exempt":                 {`{spec: {exempt: [{kind: Group, name: fraud-team}]}}`, ""},
		"exempt in a namespace":  {`{spec: {exempt: [{kind: Group, name: fraud-team, namespace: x}]}}`, "namespace is required for a ServiceAccount and not allowed otherwise"},
		"too many exempt":        {`{spec: {exempt: ` + list(33, "{kind: User, name: u%d}") + `}}`, "spec.exempt: Too many"},
	})
}

func TestCommandRule(t *testing.T) {
	sql := func(m string) string { return `{spec: {match: [{sql: ` + m + `}]}}` }
	approval := func(a string) string { return `{spec: {action: RequireApproval, approval: ` + a + `}}` }
	const dba = `approvers: [{kind: Group, name: dba}]`
	try(t, apiserver.CommandRule, cases{
		"as it is":               {"", ""},
		"no selector":            {`{spec: {targetSelector: null}}`, "spec.targetSelector: Required value"},
		"an unknown operator":    {`{spec: {targetSelector: {matchExpressions: [{key: tier, operator: Like}]}}}`, "operator must be In or NotIn with values"},
		"no match":               {`{spec: {match: []}}`, "spec.match"},
		"match not said":         {`{spec: {match: null}}`, "spec.match: Required value"},
		"too many matches":       {`{spec: {match: ` + list(33, "{sql: {functions: [f%d]}}") + `}}`, "spec.match: Too many"},
		"files":                  {`{spec: {match: [{files: {operations: [Write], paths: ["/etc/**"]}}]}}`, ""},
		"files by relative path": {`{spec: {match: [{files: {paths: ["etc/**"]}}]}}`, "spec.match[0].files.paths"},
		"files and their rest":   {`{spec: {match: [{files: {paths: ["/a"], except: ["/b"]}}]}}`, "at most one of paths and except may be set"},
		"files and a shell":      {`{spec: {match: [{files: {paths: ["/a"]}, shell: {commands: [rm]}}]}}`, "files and shell are of different commands"},
		"ssh and kubernetes":     {`{spec: {match: [{ssh: {logins: [root]}, kubernetes: {verbs: [get]}}]}}`, "kubernetes goes with shell alone"},
		"ssh without anything":   {`{spec: {match: [{ssh: {}}]}}`, "at least one of channels, logins and places must be set"},
		"an empty match":         {`{spec: {match: [{}]}}`, "either sql, or others than sql must be set"},
		"sql without condition":  {sql(`{}`), "at least one of statements, groups, writes, relations, functions and expression must be set"},
		"objects alone":          {sql(`{objects: [Database]}`), "at least one of statements, groups"},
		"objects with writes":    {sql(`{objects: [Database], writes: Any}`), "objects only narrows statements or groups"},
		"objects":                {sql(`{statements: [Drop], objects: [Database]}`), ""},
		"objects of groups":      {sql(`{groups: [Definition], objects: [Role]}`), ""},
		"objects in lower case":  {sql(`{statements: [Drop], objects: [database]}`), "objects[0]"},
		"another statement":      {sql(`{statements: [Destroy]}`), "statements[0]: Unsupported value"},
		"a statement twice":      {sql(`{statements: [Drop, Drop]}`), "Duplicate value"},
		"no statements":          {sql(`{statements: []}`), "statements"},
		"another group":          {sql(`{groups: [All]}`), `supported values: "Read", "Write"`},
		"other writes":           {sql(`{writes: Big}`), `supported values: "Any", "Unfiltered"`},
		"writes":                 {sql(`{writes: Unfiltered}`), ""},
		"relations":              {sql(`{relations: ["billing.*"]}`), ""},
		"relation, no schema":    {sql(`{relations: [billing]}`), "relations[0]"},
		"functions":              {sql(`{functions: ["dblink*"]}`), ""},
		"function with schema":   {sql(`{functions: [public.dblink]}`), "functions[0]"},
		"too long a function":    {sql(`{functions: [` + long(64) + `]}`), "functions[0]: Too long"},
		"another action":         {`{spec: {action: Warn}}`, `supported values: "Deny", "RequireApproval", "Audit", "Allow"`},
		"no action":              {`{spec: {action: null}}`, "spec.action: Required value"},
		"approval missing":       {`{spec: {action: RequireApproval}}`, "approval must be set with action RequireApproval, and only then"},
		"approval with Deny":     {`{spec: {approval: {` + dba + `}}}`, "approval must be set with action RequireApproval, and only then"},
		"approval":               {approval(`{` + dba + `}`), ""},
		"no approvers":           {approval(`{approvers: []}`), "spec.approval.approvers"},
		"approvers not said":     {approval(`{}`), "spec.approval.approvers: Required value"},
		"too many approvers":     {approval(`{approvers: ` + list(33, "{kind: User, name: u%d}") + `}`), "spec.approval.approvers: Too many"},
		"account, no namespace":  {approval(`{approvers: [{kind: ServiceAccount, name: bot}]}`), "namespace is required for a ServiceAccount"},
		"nobody required":        {approval(`{required: 0, ` + dba + `}`), "spec.approval.required"},
		"nine required":          {approval(`{required: 9, ` + dba + `}`), "spec.approval.required"},
		"shortest timeout":       {approval(`{timeout: 10s, ` + dba + `}`), ""},
		"too short a timeout":    {approval(`{timeout: 9s, ` + dba + `}`), "timeout must be between 10s and 24h"},
		"too long a timeout":     {approval(`{timeout: 25h, ` + dba + `}`), "timeout must be between 10s and 24h"},
		"timeout in words":       {approval(`{timeout: "10 minutes", ` + dba + `}`), "written like 90s or 10m"},
		"pending otherwise":      {approval(`{whilePending: Queue, ` + dba + `}`), `supported values: "Wait", "Reject"`},
		"in transaction, other":  {approval(`{inTransaction: Queue, ` + dba + `}`), `supported values: "Wait", "Reject"`},
		"too long a message":     {`{spec: {message: ` + long(513) + `}}`, "spec.message: Too long"},
	})
}

func TestRecordingStore(t *testing.T) {
	try(t, apiserver.RecordingStore, cases{
		"as it is":          {"", ""},
		"no place":          {`{spec: {configMap: null}}`, "exactly one of configMap must be set"},
		"too small":         {`{spec: {configMap: {maxBytes: 1048575}}}`, "spec.configMap.maxBytes"},
		"too large":         {`{spec: {configMap: {maxBytes: 268435457}}}`, "spec.configMap.maxBytes"},
		"short retention":   {`{spec: {retention: 59m}}`, "retention must be between 1h and 87600h"},
		"long retention":    {`{spec: {retention: 87601h}}`, "retention must be between 1h and 87600h"},
		"retention in days": {`{spec: {retention: 30d}}`, "written like 720h"},
		"retention":         {`{spec: {retention: 24h}}`, ""},
		"no rows":           {`{spec: {responses: {maxRows: 0, maxBytes: 0}}}`, ""},
		"negative rows":     {`{spec: {responses: {maxRows: -1}}}`, "spec.responses.maxRows"},
		"too many rows":     {`{spec: {responses: {maxRows: 100001}}}`, "spec.responses.maxRows"},
		"too many bytes":    {`{spec: {responses: {maxBytes: 1048577}}}`, "spec.responses.maxBytes"},
	})
}

func TestAccessPolicy(t *testing.T) {
	try(t, apiserver.AccessPolicy, cases{
		"as it is":                       {"", ""},
		"no selector":                    {`{spec: {targetSelector: null}}`, "spec.targetSelector: Required value"},
		"every Target":                   {`{spec: {targetSelector: {}}}`, ""},
		"an unknown operator":            {`{spec: {targetSelector: {matchExpressions: [{key: tier, operator: Like}]}}}`, "operator must be In or NotIn with values"},
		"says nothing":                   {`{spec: {subjects: null, limits: null}}`, "at least one of subjects, limits, requires and approvals must be set"},
		"no subjects":                    {`{spec: {subjects: null}}`, ""},
		"an empty list of subjects":      {`{spec: {subjects: []}}`, "spec.subjects"},
		"a subject without names":        {`{spec: {subjects: [{kind: User}]}}`, "spec.subjects[0].names: Required value"},
		"a user":                         {`{spec: {subjects: [{kind: User, names: ["*@example.com"]}]}}`, ""},
		"a user with a namespace":        {`{spec: {subjects: [{kind: User, names: [ana], namespaces: [shop]}]}}`, "namespaces is required for kind ServiceAccount and not allowed otherwise"},
		"an account without a namespace": {`{spec: {subjects: [{kind: ServiceAccount, names: [ana]}]}}`, "namespaces is required for kind ServiceAccount"},
		"no limit":                       {`{spec: {limits: {maxDuration: null}}}`, "spec.limits"},
		"a limit of no time":             {`{spec: {limits: {maxDuration: 59s}}}`, "maxDuration must be between 1m and 8760h"},
		"in days":                        {`{spec: {limits: {maxDuration: 7d}}}`, "written like 90m or 8h"},
		"no start ahead":                 {`{spec: {limits: {startWithin: 0s}}}`, ""},
		"a start long ahead":             {`{spec: {limits: {startWithin: 8761h}}}`, "startWithin must be between 0s and 8760h"},
		"no sessions":                    {`{spec: {limits: {maxSessions: 0}}}`, "spec.limits.maxSessions"},
		"idle for a moment":              {`{spec: {limits: {idleTimeout: 9s}}}`, "idleTimeout must be between 10s and 24h"},
		"an unknown level":               {`{spec: {limits: {postgres: {access: All}}}}`, `supported values: "ReadOnly", "ReadWrite", "Full"`},
		"an empty block":                 {`{spec: {limits: {postgres: {}}}}`, "spec.limits.postgres"},
		"other protocols":                {`{spec: {limits: {ssh: {logins: [deploy], channels: [Exec], terminal: Gated}, kubernetes: {namespaces: ["shop*"], secrets: Masked, exec: Commands}}}}`, ""},
		"requirements":                   {`{spec: {requires: {recordingStores: [audit], deliveries: [Secret], reasonPattern: "OPS-[0-9]+"}}}`, ""},
		"no requirements":                {`{spec: {requires: {}}}`, "spec.requires"},
		"an unknown delivery":            {`{spec: {requires: {deliveries: [Pigeon]}}}`, "spec.requires.deliveries"},
		"a long expression":              {`{spec: {requires: {reasonPattern: ` + long(257) + `}}}`, "spec.requires.reasonPattern: Too long"},
	})
}

func TestAccessLock(t *testing.T) {
	try(t, apiserver.Lock, cases{
		"as it is":            {"", ""},
		"nothing":             {`{spec: {targetSelector: null}}`, "targetSelector: {} locks everything"},
		"grants":              {`{spec: {targetSelector: null, grantSelector: {}}}`, ""},
		"subjects":            {`{spec: {targetSelector: null, subjects: [{kind: User, name: mallory}]}}`, ""},
		"no subjects":         {`{spec: {subjects: []}}`, "spec.subjects"},
		"too many subjects":   {`{spec: {subjects: ` + list(65, "{kind: User, name: u%d}") + `}}`, "spec.subjects: Too many"},
		"too long a reason":   {`{spec: {reason: ` + long(513) + `}}`, "spec.reason: Too long"},
		"an unknown operator": {`{spec: {targetSelector: {matchExpressions: [{key: tier, operator: Like}]}}}`, "operator must be In or NotIn with values"},
		"a grant's operator":  {`{spec: {grantSelector: {matchExpressions: [{key: tier, operator: In}]}}}`, "operator must be In or NotIn with values"},
	})
}

func TestApprovalRequest(t *testing.T) {
	try(t, apiserver.ApprovalRequest, cases{
		"as it is":             {"", ""},
		"no grant":             {`{spec: {grantRef: null}}`, "spec.grantRef: Required value"},
		"a grant without UID":  {`{spec: {grantRef: {uid: null}}}`, "spec.grantRef.uid: Required value"},
		"no requester":         {`{spec: {requester: ""}}`, "spec.requester"},
		"no digest":            {`{spec: {command: {digest: abc}}}`, "spec.command.digest"},
		"longest command":      {`{spec: {command: {text: ` + long(24576) + `}}}`, ""},
		"too long a command":   {`{spec: {command: {text: ` + long(24577) + `}}}`, "spec.command.text: Too long"},
		"too many parameters":  {`{spec: {command: {parameters: ` + list(257, `"%d"`) + `}}}`, "spec.command.parameters: Too many"},
		"too long a parameter": {`{spec: {command: {parameters: [` + long(4097) + `]}}}`, "spec.command.parameters[0]: Too long"},
		"context":              {`{spec: {command: {context: {database: orders}}}}`, ""},
		"too long a context":   {`{spec: {command: {context: {searchPath: ` + long(1025) + `}}}}`, "searchPath"},
		"no approvers":         {`{spec: {approvers: []}}`, "spec.approvers"},
		"nobody required":      {`{spec: {required: 0}}`, "spec.required"},
		"nine required":        {`{spec: {required: 9}}`, "spec.required"},
		"no end":               {`{spec: {expiresAt: null}}`, "spec.expiresAt: Required value"},
	})
}

func TestSession(t *testing.T) {
	try(t, apiserver.Session, cases{
		"as it is":      {"", ""},
		"no grant":      {`{spec: {grantRef: null}}`, "spec.grantRef: Required value"},
		"no client":     {`{spec: {client: null}}`, "spec.client: Required value"},
		"no proxy":      {`{spec: {proxy: null}}`, "spec.proxy: Required value"},
		"no start":      {`{spec: {startedAt: null}}`, "spec.startedAt: Required value"},
		"another state": {`{spec: {desiredState: Paused}}`, `supported values: "Active", "Terminated"`},
	})
}

func TestAccessProxy(t *testing.T) {
	try(t, apiserver.AccessProxy, cases{
		"as it is":             {"", ""},
		"another name":         {`{metadata: {name: second}}`, "the name must be default"},
		"everything":           {`{spec: {replicas: 3, drain: 5m, resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 1Gi}}, exposure: {type: LoadBalancer, hostnames: [db.example.com], sourceRanges: [192.0.2.0/24], annotations: {a: b}}, scheduling: {nodeSelector: {a: b}, tolerations: [{key: k, operator: Exists, effect: NoSchedule}], priorityClassName: high}}}`, ""},
		"no replicas":          {`{spec: {replicas: 0}}`, "spec.replicas"},
		"most replicas":        {`{spec: {replicas: 10}}`, ""},
		"too many replicas":    {`{spec: {replicas: 11}}`, "spec.replicas"},
		"no drain":             {`{spec: {drain: 0s}}`, ""},
		"too long a drain":     {`{spec: {drain: 61m}}`, "drain must be between 0s and 1h"},
		"a drain below zero":   {`{spec: {drain: -1s}}`, "drain must be between 0s and 1h"},
		"another exposure":     {`{spec: {exposure: {type: ExternalName}}}`, "spec.exposure.type"},
		"sources, no balancer": {`{spec: {exposure: {type: NodePort, sourceRanges: [192.0.2.0/24]}}}`, "sourceRanges has a meaning with type LoadBalancer alone"},
		"a source is no net":   {`{spec: {exposure: {type: LoadBalancer, sourceRanges: [everywhere]}}}`, "must be a network"},
		"a name is none":       {`{spec: {exposure: {hostnames: ["*.example.com"]}}}`, "spec.exposure.hostnames"},
		"a taint of any key":   {`{spec: {scheduling: {tolerations: [{operator: Exists}]}}}`, ""},
		"a taint without key":  {`{spec: {scheduling: {tolerations: [{value: x}]}}}`, "operator must be Exists where no key is set"},
		"a value that exists":  {`{spec: {scheduling: {tolerations: [{key: k, operator: Exists, value: x}]}}}`, "value has a meaning with operator Equal alone"},
		"an amount is none":    {`{spec: {resources: {limits: {memory: much}}}}`, "spec.resources.limits.memory"},
	})
}
