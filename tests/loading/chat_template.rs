use crate::tiny::message;
use lpc::model::chat_template::{ChatTemplate, Message};
use serde_json::Value;
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
        let template =
            ChatTemplate::new(text(&case["template"]), Some("<s>".into()), Some("</s>".into())).unwrap();
        let messages: Vec<Message> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| Message { role: m[0].as_str().unwrap(), content: m[1].as_str().unwrap() })
            .collect();
        let rendered = template.render(&messages, case["add_generation_prompt"].as_bool().unwrap());
        match case["expected"].as_str() {
            Some(expected) => assert_eq!(rendered.unwrap(), expected, "{}", case["name"]),
            None => assert!(message(rendered).contains("roles must alternate")),
        }
    }
}

fn render(source: &str) -> lpc::Result<String> {
    ChatTemplate::new(source.into(), None, None)?.render(&[Message::user("hi")], true)
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
