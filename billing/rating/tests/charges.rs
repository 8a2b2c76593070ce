//! Worked examples of other billing systems that charges must reproduce, and the rules where those
//! systems differ. Names carry the row of the table that collected them.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside test functions")]

use permille_rating::charge::{Charge, LineKind, Per, Quote, parse_charge, quote};
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

fn charge(lines: &str) -> Charge {
    parse_charge(&format!("[charge]\ncurrency = \"USD\"\n{lines}\n"), "charge.toml").unwrap()
}

fn tiers(kind: &str, tiers: &str) -> Charge {
    charge(&format!("kind = \"{kind}\"\ntiers = [ {tiers} ]"))
}

fn quoted(charge: &Charge, quantity: &str) -> Quote {
    let quote = quote(charge, decimal(quantity)).unwrap();
    let sum: Decimal = quote.lines.iter().map(|line| line.amount).sum();
    assert_eq!(sum, quote.exact, "lines add up");
    for line in &quote.lines {
        let amount = line.quantity.checked_mul(line.unit_price).unwrap();
        assert_eq!(amount.checked_add(line.flat).unwrap(), line.amount, "a line explains itself");
    }
    quote
}

/// Each (quantity, exact amount).
#[track_caller]
fn check(charge: &Charge, cases: &[(&str, &str)]) {
    for (quantity, amount) in cases {
        let exact = quoted(charge, quantity).exact;
        assert_eq!(exact, decimal(amount), "quantity {quantity}");
    }
}

const STRIPE: &str =
    r#"{ up_to = "5", unit = "7" }, { up_to = "10", unit = "6.5" }, { unit = "6" }"#;

#[test]
fn row_1_volume_prices_everything_in_the_tier_of_the_whole() {
    let cases = [("1", "7"), ("5", "35"), ("6", "39"), ("20", "120"), ("25", "150")];

    check(&tiers("volume", STRIPE), &cases);
}

#[test]
fn rows_2_and_3_graduated_prices_each_part_in_its_tier() {
    let cases = [("5", "35"), ("6", "41.5"), ("20", "127.5"), ("25", "157.5")];

    check(&tiers("graduated", STRIPE), &cases);
}

#[test]
fn row_7_a_begun_package_costs_a_whole_one_after_the_free_units() {
    let charge = charge("kind = \"package\"\nsize = \"100\"\nunit = \"5\"\nfree = \"100\"");

    check(&charge, &[("100", "0"), ("101", "5"), ("200", "5"), ("200.5", "10"), ("201", "10")]);
}

#[test]
fn rows_8_to_10_packages_with_and_without_free_units() {
    let package = |free: &str| {
        charge(&format!("kind = \"package\"\nsize = \"10\"\nunit = \"100\"\nfree = \"{free}\""))
    };

    check(&package("0"), &[("121", "1300")]);
    check(&package("10"), &[("121", "1200")]);
    check(&package("200"), &[("121", "0")]);
}

const PACKAGE_15: &str = "kind = \"package\"\nsize = \"10\"\nunit = \"15\"";

#[test]
fn row_12_a_package_without_usage_has_no_line() {
    assert!(quoted(&charge(PACKAGE_15), "0").lines.is_empty());
}

#[test]
fn row_13_a_minimum_without_usage_is_one_commitment_line() {
    let quote = quoted(&charge(&format!("{PACKAGE_15}\nminimum = \"100\"")), "0");

    assert_eq!(quote.exact, decimal("100"));
    assert_eq!(quote.lines.iter().map(|line| line.kind).collect::<Vec<_>>(), [LineKind::Minimum]);
}

#[test]
fn row_14_packages_are_begun_over_the_whole_period_not_per_part() {
    let charge = charge(PACKAGE_15);

    let before = quoted(&charge, "17").exact;
    let after = quoted(&charge, "22").exact;

    assert_eq!(after.checked_sub(before).unwrap(), decimal("15"));
}

#[test]
fn row_15_a_flat_fee_applies_once_per_tier_reached_and_the_first_at_zero() {
    let charge = tiers(
        "graduated",
        r#"{ up_to = "10", unit = "10", flat = "2" }, { up_to = "20", unit = "5", flat = "3" },
           { unit = "5", flat = "3" }"#,
    );

    let cases =
        [("0", "2"), ("1", "12"), ("10", "102"), ("11", "110"), ("12", "115"), ("21", "163")];
    check(&charge, &cases);
}

#[test]
fn row_16_graduated_over_three_tiers() {
    let text =
        r#"{ up_to = "100", unit = "1" }, { up_to = "200", unit = "0.5" }, { unit = "0.1" }"#;

    check(&tiers("graduated", text), &[("250", "155")]);
}

const FLAT_THEN_UNIT: &str = r#"{ up_to = "5", flat = "100" }, { up_to = "10", flat = "50" },
     { up_to = "15", unit = "5" }, { unit = "1" }"#;

#[test]
fn rows_22_and_23_tiers_of_a_flat_fee_only_and_a_split_period() {
    let charge = tiers("graduated", FLAT_THEN_UNIT);

    check(&charge, &[("22", "182"), ("12", "160")]);
}

#[test]
fn row_24_a_minimum_is_raised_by_what_usage_has_not_reached() {
    let lines = format!("kind = \"graduated\"\nminimum = \"1000\"\ntiers = [ {FLAT_THEN_UNIT} ]");
    let quote = quoted(&charge(&lines), "5");

    let amounts: Vec<_> = quote.lines.iter().map(|line| (line.kind, line.amount)).collect();
    let expected = [(LineKind::Usage, decimal("100")), (LineKind::Minimum, decimal("900"))];
    assert_eq!(amounts, expected);
}

#[test]
fn rows_28_and_29_blocks_in_all_tiers_or_in_the_top_tier() {
    let minutes = r#"{ up_to = "100", unit = "1" }, { unit = "0.5" }"#;
    let megabytes = r#"{ up_to = "1024", unit = "0.5" }, { unit = "0.1" }"#;

    check(&tiers("graduated", minutes), &[("150", "125")]);
    check(&tiers("graduated", megabytes), &[("2048", "614.4")]);
    check(&tiers("volume", minutes), &[("150", "75")]);
    check(&tiers("volume", megabytes), &[("2048", "204.8")]);
}

#[test]
fn rows_34_40_41_73_and_80_a_unit_price_is_exact_and_rounded_once() {
    let cases = [
        ("0.029", "4", "0.116", "0.12"),
        ("1", "2177.4193548387096774193548", "2177.4193548387096774193548", "2177.42"),
        ("0.5", "300", "150", "150.00"),
        ("0.067", "55", "3.685", "3.69"),
        ("15.619", "520", "8121.88", "8121.88"),
    ];
    for (unit, quantity, exact, amount) in cases {
        let quote = quoted(&charge(&format!("kind = \"unit\"\nunit = \"{unit}\"")), quantity);
        assert_eq!(quote.exact, decimal(exact), "{unit} × {quantity}");
        assert_eq!(quote.amount.to_string(), amount, "{unit} × {quantity}");
    }
}

#[test]
fn rows_35_and_37_the_minimum_is_a_line_of_its_own() {
    let unit = |minimum: &str| charge(&format!("kind = \"unit\"\nunit = \"1\"\n{minimum}"));

    let quote = quoted(&unit("minimum = \"100\""), "50");
    assert_eq!(quote.lines.last().unwrap().amount, decimal("50"));

    let quote = quoted(&unit("minimum = \"10000.00\""), "110.00");
    assert_eq!(quote.lines.last().unwrap().amount, decimal("9890"));
    assert_eq!(quote.exact, decimal("10000"));
}

#[test]
fn row_60_graduated_inside_the_second_tier() {
    let text =
        r#"{ up_to = "100", unit = "1" }, { up_to = "200", unit = "0.5" }, { unit = "0.25" }"#;

    check(&tiers("graduated", text), &[("150", "125")]);
}

#[test]
fn row_74_tiny_amounts_add_up_over_a_period_instead_of_vanishing() {
    // 60 calls a minute at 1.28 thousandths of a cent: 0.000768 a minute, 0.00 if rounded.
    let charge = charge("kind = \"unit\"\nunit = \"0.0000128\"");

    assert_eq!(quoted(&charge, "60").amount.to_string(), "0.00");
    assert_eq!(quoted(&charge, "2592000").amount.to_string(), "33.18");
}

#[test]
fn row_81_the_currency_decides_the_decimal_places() {
    let text = "[charge]\nkind = \"unit\"\nunit = \"10.625\"\ncurrency = \"USD\"\n";
    let dollars = parse_charge(text, "charge.toml").unwrap();
    let yen = parse_charge(&text.replace("USD", "JPY"), "charge.toml").unwrap();

    assert_eq!(quoted(&dollars, "4.4556").exact, decimal("47.34075"));
    assert_eq!(quoted(&dollars, "4.4556").amount.to_string(), "47.34");
    assert_eq!(quoted(&yen, "4.4556").amount.to_string(), "47");
}

#[test]
fn row_84_graduated_and_volume_over_the_same_tiers() {
    let text = r#"{ up_to = "1000", unit = "0.10" }, { up_to = "10000", unit = "0.05" },
                  { unit = "0.01" }"#;

    check(&tiers("graduated", text), &[("15000", "600")]);
    check(&tiers("volume", text), &[("15000", "150")]);
}

#[test]
fn a_fractional_quantity_falls_in_exactly_one_tier() {
    // A peer bills 100.5 as nothing when its tiers start at 0 and 101.
    let text = r#"{ up_to = "100", unit = "1" }, { unit = "2" }"#;

    check(&tiers("volume", text), &[("100", "100"), ("100.5", "201"), ("101", "202")]);
    check(&tiers("graduated", text), &[("100", "100"), ("100.5", "101"), ("101", "102")]);
}

#[test]
fn discount_comes_before_maximum_before_minimum() {
    let lines = "kind = \"unit\"\nunit = \"1\"\ndiscount_percent = \"12.5\"\n\
                 maximum = \"100\"\nminimum = \"10\"";
    let charge = charge(lines);

    check(&charge, &[("80", "70"), ("112", "98"), ("200", "100"), ("8", "10"), ("0", "10")]);
    let kinds: Vec<_> = quoted(&charge, "200").lines.iter().map(|line| line.kind).collect();
    assert_eq!(kinds, [LineKind::Usage, LineKind::Discount, LineKind::Maximum]);
}

#[test]
fn a_quote_as_json_has_the_published_shape() {
    let quote = quoted(&tiers("graduated", STRIPE), "6.50");

    let json = serde_json::to_string(&quote).unwrap();

    assert_eq!(
        json,
        r#"{"amount":"44.75","exact":"44.75","currency":"USD","lines":["#.to_owned()
            + r#"{"kind":"usage","tier":1,"quantity":"5","unit_price":"7","flat":"0","amount":"35"},"#
            + r#"{"kind":"usage","tier":2,"quantity":"1.5","unit_price":"6.5","flat":"0","amount":"9.75"}]}"#
    );
}

#[test]
fn a_negative_quantity_and_one_with_too_many_digits_are_refused() {
    let charge = charge("kind = \"unit\"\nunit = \"0.0000000000000001\"");

    assert!(quote(&charge, decimal("-1")).is_err());
    assert!(quote(&charge, decimal("1.0000000000000001")).is_err());
}

#[test]
fn a_charge_that_cannot_be_meant_is_refused_naming_the_key() {
    for (lines, word) in [
        ("kind = \"unit\"\nunit = 1.5", "`unit` is a float"),
        ("kind = \"unit\"\nunt = \"1\"", "did you mean `unit`?"),
        ("kind = \"unit\"\nunit = \"1\"\nsize = \"2\"", "`size`: has no meaning in kind `unit`"),
        ("kind = \"flat\"\nunit = \"1\"", "unit, package, graduated, volume"),
        ("kind = \"package\"\nunit = \"1\"\nsize = \"0\"", "`size`"),
        ("kind = \"package\"\nunit = \"1\"", "key `size` is missing"),
        ("kind = \"volume\"\ntiers = []", "the last tier must have no `up_to`"),
        ("kind = \"volume\"\ntiers = [ { up_to = \"1\", unit = \"1\" } ]", "the last tier"),
        ("kind = \"volume\"\ntiers = [ { unit = \"1\" }, { unit = \"1\" } ]", "must be the last"),
        (
            "kind = \"volume\"\ntiers = [ { up_to = \"5\", unit = \"1\" }, \
             { up_to = \"5\", unit = \"1\" }, { unit = \"1\" } ]",
            "5 is not above 5",
        ),
        ("kind = \"volume\"\ntiers = [ { up_to = \"5\" }, { unit = \"1\" } ]", "`unit` is missing"),
        ("kind = \"volume\"\ntiers = [ { upto = \"5\" } ]", "did you mean `up_to`?"),
        ("kind = \"unit\"\nunit = \"1\"\ndiscount_percent = \"101\"", "above 100"),
        ("kind = \"unit\"\nunit = \"1\"\nminimum = \"2\"\nmaximum = \"1\"", "above `maximum`"),
    ] {
        let text = format!("[charge]\ncurrency = \"USD\"\n{lines}\n");
        let error = parse_charge(&text, "charge.toml").unwrap_err();
        let message = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert!(message.contains(word) && message.contains("charge.toml"), "{message}");
    }
}

#[test]
fn a_charge_file_holds_exactly_one_charge_in_either_form() {
    let body = "kind = \"unit\"\ncurrency = \"USD\"\nunit = \"1\"\n";

    assert!(parse_charge(&format!("[charge]\n{body}"), "f").is_ok());
    assert!(parse_charge(&format!("[[charge]]\n{body}"), "f").is_ok());
    assert!(parse_charge(&format!("[[charge]]\n{body}[[charge]]\n{body}"), "f").is_err());
    assert!(parse_charge("", "f").is_err());
}

#[test]
fn a_discount_of_everything_and_a_minimum_at_the_maximum_can_be_meant() {
    let free = charge("kind = \"unit\"\nunit = \"1\"\ndiscount_percent = \"100\"");
    let fixed = charge("kind = \"unit\"\nunit = \"1\"\nminimum = \"5\"\nmaximum = \"5\"");

    check(&free, &[("3", "0")]);
    check(&fixed, &[("3", "5"), ("5", "5"), ("8", "5")]);
    let kinds: Vec<_> = quoted(&fixed, "5").lines.iter().map(|line| line.kind).collect();
    assert_eq!(kinds, [LineKind::Usage], "what is neither above nor below has no other line");
}

#[test]
fn one_of_a_quantity_is_what_per_says() {
    for (per, counted) in [
        (Per::Token, "1234567"),
        (Per::ThousandTokens, "1234.567"),
        (Per::MillionTokens, "1.234567"),
        (Per::Request, "1234567"),
        (Per::Second, "1234567"),
        (Per::Image, "1234567"),
        (Per::Search, "1234567"),
        (Per::ThousandCharacters, "1234.567"),
    ] {
        assert_eq!(per.of(decimal("1234567")).unwrap(), decimal(counted), "{per:?}");
        assert_eq!(serde_json::to_value(per).unwrap(), per.as_str());
        assert!(Per::ALL.contains(&(per, per.as_str())), "{per:?}");
    }
}
