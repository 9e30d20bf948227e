use crate::message::message;
use lpc::text::chat_template::{ChatTemplate, Conversation};
use lpc::text::message::Message;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Our templates, rendered by `transformers` (fixtures/loading/generate.py).
#[test]
fn renders_as_transformers_does() {
    let cases: Value =
        serde_json::from_str(include_str!("../../fixtures/loading/chat_templates.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let tokens =
            [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(k, v)| (k.to_string(), v.to_string()));
        let template = ChatTemplate::new(text(&case["template"]), tokens.into());
        let messages: Vec<Message> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| Message::new(m[0].as_str().unwrap(), m[1].clone()))
            .collect();
        let rendered =
            template.render(Conversation::of(&messages), case["add_generation_prompt"].as_bool().unwrap());
        match case["expected"].as_str() {
            Some(expected) => assert_eq!(rendered.unwrap(), expected, "{}", case["name"]),
            None => assert!(message(rendered).contains("roles must alternate")),
        }
    }
}

/// What Jinja does not have, or has otherwise (fixtures/loading/generate_dialect.py).
#[test]
fn speaks_the_dialect_of_transformers() {
    let fixture: Value = serde_json::from_str(include_str!("../../fixtures/loading/dialect.json")).unwrap();
    let tokens: BTreeMap<String, String> = serde_json::from_value(fixture["tokens"].clone()).unwrap();
    let mut wrong = vec![];
    for case in fixture["cases"].as_array().unwrap() {
        let mut template = ChatTemplate::new(case["template"].as_str().unwrap().into(), tokens.clone());
        template.set_date(jiff::civil::date(2026, 2, 3).at(0, 0, 0, 0));
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let tools = Some(&case["tools"]).filter(|tools| !tools.is_null());
        let kwargs = case["kwargs"].as_object().unwrap();
        let rendered = template.render(Conversation { messages: &messages, tools, kwargs }, true);
        let rendered = rendered.unwrap_or_else(|e| e.to_string());
        if Some(rendered.as_str()) != case["expected"].as_str() {
            wrong.push(format!("{}\n  expected {}\n  got      {rendered:?}", case["name"], case["expected"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn render(source: &str) -> lpc::Result<String> {
    ChatTemplate::new(source.into(), Default::default())
        .render(Conversation::of(&[Message::user("hi")]), true)
}

#[test]
fn date_of_today() {
    let (before, rendered) = (jiff::Zoned::now(), render("{{ strftime_now('%d %b %Y') }}").unwrap());
    let days = [before, jiff::Zoned::now()].map(|day| day.strftime("%d %b %Y").to_string());
    assert!(days.contains(&rendered), "{rendered}");
    assert!(message(render("{{ strftime_now('%') }}")).contains("template"));
}

#[test]
fn absent_special_tokens_are_undefined() {
    let source = "{{ bos_token }}|{{ 'a' if eos_token is defined else 'b' }}|{{ tools is none }}";
    assert_eq!(render(source).unwrap(), "|b|True");
}

#[test]
fn hostile_templates_come_to_an_end() {
    let nested = "{% for a in range(100000) %}".repeat(5) + "x" + &"{% endfor %}".repeat(5);
    let sources = [
        nested.as_str(),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 10000000000 }}",
        "{{ messages[0].nothing.at_all }}",
        "{{ unknown() }}",
        "{% include 'other' %}",
        "{{ messages | tojson(indent=99999999) }}",
        "{{ raise_exception('no') }}",
    ];
    for source in sources {
        let start = Instant::now();
        let message = message(render(source));
        assert!(message.starts_with("chat_template: template = "), "{message}");
        assert!(start.elapsed() < Duration::from_secs(30), "{source:.60}: {:?}", start.elapsed());
    }
    for source in ["{% for", "{{ }}", "{% endif %}", &"{{ (".repeat(10_000)] {
        assert!(message(render(source)).contains("a template that parses"));
    }
}

/// Strings that double, one instruction each, and what else takes memory without end.
#[test]
fn templates_that_fill_the_memory() {
    let doubled = "{% set x = x ~ x %}".repeat(60);
    let loops = |body: &str| {
        format!(
            "{{% set ns = namespace(x='ab') %}}{{% for i in range(60) %}}{body}{{% endfor %}}{{{{ ns.x }}}}"
        )
    };
    let sources = [
        format!("{{% set x = 'ab' %}}{doubled}{{{{ x }}}}"),
        loops("{% set ns.x = ns.x + ns.x %}"),
        loops("{% set ns.x = ns.x|replace('a', 'aaaa') %}"),
        loops("{% set ns.x = ns.x|indent(100000) %}{% set ns.x = ns.x ~ '\\n' ~ ns.x %}"),
        loops("{% set ns.x = [ns.x, ns.x]|join %}"),
        loops("{% set ns.x = (ns.x|list) + (ns.x|list) %}"),
        loops("{% set ns.x = [ns.x, ns.x] %}"),
        loops("{% set ns.x = ns.x|tojson|tojson %}"),
        loops("{% set ns.x = '%100000s'|format(ns.x) ~ ns.x ~ ns.x %}"),
        "{% for i in range(9999) %}{{ 'abcdefghij' * 100000 }}{% endfor %}".into(),
    ];
    for source in sources {
        let error = message(render(&source));
        assert!(error.contains("it takes more than 64 MiB of memory"), "{source:.80}: {error:.200}");
    }
    // What a conversation needs is nowhere near.
    let long = "x".repeat(1 << 20);
    let turns: Vec<Message> = (0..4).map(|_| Message::user(long.clone())).collect();
    let source = "{% set ns = namespace(x='') %}{% for m in messages %}{% set ns.x = ns.x ~ m.content %}{% endfor %}{{ ns.x }}";
    let template = ChatTemplate::new(source.into(), Default::default());
    assert_eq!(template.render(Conversation::of(&turns), true).unwrap().len(), 4 << 20);
}

/// Values nested as deep as memory allows are written, compared and freed, or refused.
#[test]
fn templates_that_nest_values_without_end() {
    let nests = |grown: &str, shown: &str| {
        format!(
            "{{% set ns = namespace(x=1, y=1) %}}{{% for a in range(9000) %}}{{% for b in range(80) %}}\
             {{% set ns.x = {grown} %}}{{% endfor %}}{{% endfor %}}{shown}"
        )
    };
    for grown in ["[ns.x]", "{'a': ns.x}", "(ns.x,)", "namespace(x=ns.x)", "[ns.x]|map('upper')"] {
        let error = message(render(&nests(grown, "")));
        assert!(error.contains("it takes more than 64 MiB of memory"), "{grown}: {error:.200}");
    }
    // A little less than that: there at the end, read and freed.
    let nests = |grown: &str, shown: &str| nests(grown, shown).replace("range(9000)", "range(200)");
    for grown in ["[ns.x]", "{'a': ns.x}", "[ns.x]|reverse"] {
        assert_eq!(render(&nests(grown, "done")).unwrap(), "done", "{grown}");
        for shown in ["{{ ns.x }}", "{{ ns.x|tojson }}", "{{ ns.x == ns.y }}"] {
            let rendered = render(&nests(grown, shown));
            let told = rendered.map_or_else(|e| e.to_string(), |text| format!("{:.60}", text));
            assert!(!told.contains("fault"), "{grown}, {shown}: {told}");
        }
    }
}
