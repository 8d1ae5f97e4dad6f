package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaskingRuleSpec says which columns and fields are masked, how, and for whom not.
//
// +kubebuilder:validation:XValidation:rule="has(self.columns) || has(self.detectors) || has(self.fields)",message="at least one of columns, detectors and fields must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.functions) || has(self.columns)",message="functions need columns"
type MaskingRuleSpec struct {
	// targetSelector selects Targets by label; `{}` selects all of the namespace, or of every
	// gate namespace for a rule in the root namespace.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",message="matchExpressions: operator must be In or NotIn with values, or Exists or DoesNotExist without"
	// +required
	TargetSelector metav1.LabelSelector `json:"targetSelector"`

	// columns that are masked; 1 to 64. Where several rules name a column, the first by
	// namespace (root first), name and position decides how.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Columns []MaskedColumns `json:"columns,omitempty"`

	// predicates says whether a masked column may stand in WHERE, JOIN and the like: Deny
	// refuses every use but as a plain output column, and for columns of text that show NULL the
	// question whether they are NULL; Equality admits its comparison with
	// constants and parameters by = and IN. Whoever may compare can find a value by trying.
	// +kubebuilder:default=Deny
	// +optional
	Predicates PredicatePolicy `json:"predicates,omitempty"`

	// expressions says what becomes of expressions over a masked column in the output: Deny
	// refuses them; MaskOutput admits total functions of text, such as upper and left, and
	// masks what they return.
	// +kubebuilder:default=Deny
	// +optional
	Expressions ExpressionPolicy `json:"expressions,omitempty"`

	// functions are functions of users of the database that statements may call although columns
	// are masked: whoever lists one here has read it, and says that whatever it is called with it
	// neither returns a masked value nor tells of one. Masked columns cannot be its arguments; a
	// CommandRule has to allow the call besides. Where a rule of the root namespace masks columns
	// of the Target, only functions in rules of the root namespace count. 1 to 64.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Functions []PinnedFunction `json:"functions,omitempty"`

	// detectors find sensitive values in text that comes from columns that no rule names, in
	// what commands in containers print, and in containers' logs, and replace them there. They
	// are an additional net: what is reversed, split or encoded gets past them. Ports of pods
	// cannot be forwarded where they are in force.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Detectors []Detector `json:"detectors,omitempty"`

	// fields of Kubernetes objects that are masked, wherever the API server shows them; 1 to 64.
	// They mean nothing on other Targets.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Fields []MaskedFields `json:"fields,omitempty"`

	// exempt lists subjects that see the columns and fields unmasked. It holds only for identities that
	// were proven at sign-in by exchange of a token; whoever uses a credential from a Secret
	// sees masked values, whatever this list says.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +optional
	Exempt []Subject `json:"exempt,omitempty"`
}

// PinnedFunction names one function of the database.
type PinnedFunction struct {
	// signature is SCHEMA.FUNCTION(TYPES): names as the catalog has them, without quotes, and the
	// types of the arguments as SQL names them, those of users with their schema, for example
	// "app.money(numeric, app.currency)" or "app.today()". At most 512 characters.
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[^.(),"]+\.[^.(),"]+\([^()"]*\)$`
	// +required
	Signature string `json:"signature"`

	// sha256 is the digest of the function's definition in lower-case hexadecimal; the
	// documentation has the query that computes it. With another definition the function counts
	// as not listed. Without a digest, whoever may replace the function decides what it does;
	// SECURITY DEFINER functions need one. Several entries of one signature admit each of their
	// digests.
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{64}$`
	// +optional
	SHA256 string `json:"sha256,omitempty"`
}

// PredicatePolicy says whether masked columns may stand in predicates.
// +kubebuilder:validation:Enum=Deny;Equality
type PredicatePolicy string

// What masked columns may do in predicates.
const (
	// PredicatesDeny refuses a masked column in any predicate.
	PredicatesDeny PredicatePolicy = "Deny"
	// PredicatesEquality admits `column = constant` and `column IN (constants)`.
	PredicatesEquality PredicatePolicy = "Equality"
)

// ExpressionPolicy says what becomes of expressions over masked columns.
// +kubebuilder:validation:Enum=Deny;MaskOutput
type ExpressionPolicy string

// What becomes of expressions over masked columns.
const (
	// ExpressionsDeny refuses them.
	ExpressionsDeny ExpressionPolicy = "Deny"
	// ExpressionsMaskOutput masks what total functions of text return.
	ExpressionsMaskOutput ExpressionPolicy = "MaskOutput"
)

// Detector finds one kind of sensitive value by its form.
// +kubebuilder:validation:Enum=CreditCard;SSN;Email;IBAN;Token
type Detector string

// The detectors.
const (
	// DetectCreditCard finds card numbers of 13 to 19 digits with a valid check digit.
	DetectCreditCard Detector = "CreditCard"
	// DetectSSN finds social security numbers of the United States.
	DetectSSN Detector = "SSN"
	// DetectEmail finds e-mail addresses.
	DetectEmail Detector = "Email"
	// DetectIBAN finds international bank account numbers with a valid check.
	DetectIBAN Detector = "IBAN"
	// DetectToken finds keys and tokens: private keys, JWTs, tokens with a known prefix.
	DetectToken Detector = "Token"
)

// MaskedColumns is a group of columns that are masked alike.
type MaskedColumns struct {
	// names are SCHEMA.TABLE.COLUMN, each part a glob, for example "public.customers.email"
	// or "*.*.ssn"; letter case is ignored. 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=191
	// +kubebuilder:validation:items:Pattern=`^[^.]+\.[^.]+\.[^.]+$`
	// +required
	Names []string `json:"names"`

	// function is how values are masked.
	// +required
	Function MaskFunction `json:"function"`
}

// MaskedFields is a group of fields of Kubernetes objects. What they hold is replaced by
// "[masked by cardea]", whole; the keys of maps stay. A request that writes this text is refused.
type MaskedFields struct {
	// resources are RESOURCE or RESOURCE.GROUP globs, for example "configmaps" or
	// "*.example.org", in every version. 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +required
	Resources []string `json:"resources"`

	// paths lead to the fields, with all that is beneath: names or globs between dots,
	// ['…'] for a key with dots, [*] after a list (which may be left out), ** for any number of
	// names; for example "data.password", "data['tls.key']", "spec.containers[*].env[*].value" or
	// "**.env[*].value". Of metadata, only annotations can be masked. 1 to 64.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +required
	Paths []string `json:"paths"`
}

// MaskFunction is exactly one way to mask a value. NULL stays NULL under every function.
// Where a function has no value of the column's type, the result is NULL.
//
// +kubebuilder:validation:XValidation:rule="[has(self.redact), has(self.partial), has(self.hash), has(self.email), has(self.fixed), has(self.date), has(self.number), has(self.__null__)].exists_one(x, x)",message="exactly one of redact, partial, hash, email, fixed, date, number and null must be set"
type MaskFunction struct {
	// redact replaces the whole value by "[redacted]".
	// +optional
	Redact *RedactFunction `json:"redact,omitempty"`

	// partial keeps a few characters and replaces the others.
	// +optional
	Partial *PartialFunction `json:"partial,omitempty"`

	// hash replaces the value by a keyed hash: the same value gives the same hash, in every
	// column and Target of the gate namespace, so that masked columns can still be joined and
	// counted by the client. Whoever can write values of their own can compare.
	// +optional
	Hash *HashFunction `json:"hash,omitempty"`

	// email keeps the first character and the domain: "a***@example.com".
	// +optional
	Email *EmailFunction `json:"email,omitempty"`

	// fixed replaces the whole value by a constant.
	// +optional
	Fixed *FixedFunction `json:"fixed,omitempty"`

	// date cuts dates and times, for example to the first of the month.
	// +optional
	Date *DateFunction `json:"date,omitempty"`

	// number rounds numbers towards zero, for example to thousands.
	// +optional
	Number *NumberFunction `json:"number,omitempty"`

	// null replaces the value by NULL; it fits every type.
	// +optional
	Null *NullFunction `json:"null,omitempty"`
}

// RedactFunction has no options.
type RedactFunction struct{}

// EmailFunction has no options.
type EmailFunction struct{}

// NullFunction has no options.
type NullFunction struct{}

// PartialFunction keeps characters at the ends. A value that is not longer than what would
// be kept is masked whole, and at least half of every value is masked.
//
// +kubebuilder:validation:XValidation:rule="(has(self.keepFirst) ? self.keepFirst : 0) + (has(self.keepLast) ? self.keepLast : 0) > 0",message="keepFirst or keepLast must be more than 0; use redact to keep nothing"
type PartialFunction struct {
	// keepFirst is how many characters stay at the beginning; 0 to 16.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	// +optional
	KeepFirst int32 `json:"keepFirst,omitempty"`

	// keepLast is how many characters stay at the end; 0 to 16.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	// +optional
	KeepLast int32 `json:"keepLast,omitempty"`
}

// FixedFunction replaces a value by a constant.
type FixedFunction struct {
	// value is the constant, at most 256 characters.
	// +kubebuilder:validation:MaxLength=256
	// +required
	Value string `json:"value"`
}

// HashFunction says how long hashes are.
type HashFunction struct {
	// length is how many characters of the hash are shown; 16 to 52.
	// +kubebuilder:default=26
	// +kubebuilder:validation:Minimum=16
	// +kubebuilder:validation:Maximum=52
	// +optional
	Length int32 `json:"length,omitempty"`
}

// DatePrecision is the unit at whose beginning a date or time is cut.
// +kubebuilder:validation:Enum=Year;Quarter;Month;Week;Day;Hour
type DatePrecision string

// The precisions of a masked date.
const (
	PrecisionYear    DatePrecision = "Year"
	PrecisionQuarter DatePrecision = "Quarter"
	PrecisionMonth   DatePrecision = "Month"
	PrecisionWeek    DatePrecision = "Week"
	PrecisionDay     DatePrecision = "Day"
	PrecisionHour    DatePrecision = "Hour"
)

// DateFunction cuts dates and times.
type DateFunction struct {
	// precision is the unit that stays: Year, Quarter, Month, Week (from Monday), Day, Hour.
	// +required
	Precision DatePrecision `json:"precision"`
}

// NumberFunction rounds numbers towards zero.
type NumberFunction struct {
	// multipleOf is what the result is a multiple of; 1 to 1000000000000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000000
	// +required
	MultipleOf int64 `json:"multipleOf"`
}

// RuleStatus is what is known of a rule.
type RuleStatus struct {
	// conditions: Ready (the rule compiles) and Stalled. A rule that does not compile shuts
	// the Targets it selects.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the spec's generation that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// targets is how many Targets the rule selects.
	// +optional
	Targets int32 `json:"targets"`
}

// MaskingRule masks columns and fields in what Targets send back.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mrule,categories=cardea
// +kubebuilder:printcolumn:name="TARGETS",type=integer,JSONPath=`.status.targets`
// +kubebuilder:printcolumn:name="STATE",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=`.metadata.creationTimestamp`
type MaskingRule struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the declared rule.
	// +required
	Spec MaskingRuleSpec `json:"spec"`

	// status is written by the operator alone.
	// +optional
	Status RuleStatus `json:"status,omitzero"`
}

// MaskingRuleList is a list of MaskingRules.
//
// +kubebuilder:object:root=true
type MaskingRuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []MaskingRule `json:"items"`
}
