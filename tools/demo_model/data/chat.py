"""Short turns without a picture, and honest answers to what was not taught."""
import random
from typing import List, Tuple

from .sample import Sample, Turn

CANNOT = "I cannot tell."
TALK: List[Tuple[List[str], str]] = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Good morning", "Good evening", "Hey"],
     "Hello! Show me a picture."),
    (["What can you do?", "What can you do", "How can you help me?", "Help",
      "What are you able to do?"],
     "I read printed words and answer questions about coloured shapes."),
    (["Who are you?", "What are you?", "What is your name?", "Which model is this?"],
     "I am the small demo model of vl2serve."),
    (["Thanks", "Thank you", "Thank you!", "Thanks a lot"], "You are welcome."),
    (["Bye", "Goodbye", "Bye!", "See you"], "Goodbye!"),
]
UNKNOWN = [
    "What is the capital of France?", "Who won the game?", "What is the weather like?",
    "Write a poem.", "Tell me a joke.", "What is two plus two?", "Translate this to German.",
    "How old is the earth?", "What time is it?", "Why is the sky blue?", "Write some code.",
    "Who wrote this?", "What is the news today?", "Explain how a car works.",
]
UNKNOWN_OF_PICTURE = [
    "Who is this person?", "Is there a dog?", "What is the weather like?", "Who took this photo?",
    "When was this made?", "How much does it cost?", "What city is this?", "Is the person happy?",
    "What kind of animal is this?", "What brand is it?", "Where was this taken?",
    "What is the person doing?", "How many people are there?", "Is there a car?",
]


def unknown_turn(rng: random.Random) -> Turn:
    return Turn("cannot_tell", rng.choice(UNKNOWN_OF_PICTURE), CANNOT)


def make_talk(rng: random.Random) -> Sample:
    if rng.random() < 0.35:
        return Sample([], [Turn("chat", rng.choice(UNKNOWN), CANNOT)])
    questions, answer = rng.choice(TALK)
    return Sample([], [Turn("chat", rng.choice(questions), answer)])
